"""What transformers' attention layers do that only their forward passes tell, by the names of their classes.

In architectures that are not the continuous engine's (`model/supported.py`) a class of such a name may do something
else. A class that is not named here keeps its own forward pass.
"""

from typing import Any

# Which numbers of a head are turned together: those half of the turned part apart, or neighbours.
HALF_SPLIT = frozenset({
    "Gemma2Attention", "Gemma3Attention", "Glm4MoeAttention", "LlamaAttention", "MistralAttention", "MixtralAttention",
    "Phi3Attention", "Qwen2Attention", "Qwen3Attention", "Qwen3MoeAttention",
})  # fmt: skip
INTERLEAVED = frozenset({"GlmAttention", "Glm4Attention"})

# The others have it as an attribute, or none: a `sliding_window` that a configuration has by chance means nothing.
_WINDOW_IN_CONFIG = frozenset({"MistralAttention", "MixtralAttention", "Phi3Attention"})

# Gemma 3 has the attribute too, and does not use it.
_CAPPED = frozenset({"Gemma2Attention"})


def window_of(attention: Any) -> int | None:
    """How many tokens an attention layer sees; None: all before."""
    holder = attention.config if type(attention).__name__ in _WINDOW_IN_CONFIG else attention
    return getattr(holder, "sliding_window", None)


def softcap_of(attention: Any) -> float | None:
    """At what its scores are capped."""
    return attention.attn_logit_softcapping if type(attention).__name__ in _CAPPED else None
