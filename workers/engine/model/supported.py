"""Which models can be batched continuously, and what is needed to know of them.

The body is computed by transformers' own classes; what a family needs from us is that every token's place is given by
its position alone, and that its attention is causal and goes through `AttentionInterface`.
"""

from typing import Any

from pelton.workers.engine.attention.kv_cache import KVCacheSpec

FAMILIES = frozenset({"gemma2", "gemma3_text", "glm", "glm4", "llama", "mistral", "phi3", "qwen2", "qwen3"})
"""`model_type` of the families whose answers are tested against `generate`."""

# These stretch positions by the longest row of the batch: a neighbour would change the answer.
_ROPE_OF_THE_LONGEST_ROW = frozenset({"dynamic", "longrope"})


def unsupported_reason(model: Any) -> str | None:
    """Why a model cannot be batched continuously, in words for the log; None where it can."""
    config = model.config
    if config.model_type not in FAMILIES:
        return f"its architecture ({config.model_type}) is not among {', '.join(sorted(FAMILIES))}"
    stretched = _rope_types(config) & _ROPE_OF_THE_LONGEST_ROW
    if stretched:
        return f"its positions ({', '.join(sorted(stretched))} rope) depend on the longest row of a batch"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention also looks ahead (use_bidirectional_attention)"
    return None


def kv_shape(config: Any) -> KVCacheSpec:
    heads = config.num_attention_heads
    return KVCacheSpec(
        layers=config.num_hidden_layers,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
    )


def _rope_types(config: Any) -> set[str]:
    """Of all layer types: Gemma 3 has one set of parameters for each."""
    stated = getattr(config, "rope_parameters", None) or {}
    each = stated.values() if any(isinstance(value, dict) for value in stated.values()) else [stated]
    return {parameters.get("rope_type", "default") for parameters in each if parameters}
