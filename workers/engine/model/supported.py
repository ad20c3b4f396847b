"""Which models can be batched continuously, and what is needed to know of them.

The body is computed by transformers' own classes; what a family needs from us is that every token's place is given by
its position alone, and that its attention is causal and goes through `AttentionInterface`.
"""

from typing import Any, Literal

import torch

from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.model.positions import stretching

_DENSE = frozenset({"gemma2", "gemma3_text", "glm", "glm4", "llama", "mistral", "phi3", "qwen2", "qwen3"})
_MIXTURES = frozenset({"glm4_moe", "mixtral", "olmoe", "qwen3_moe"})  # experts are transformers' own affair

_QUANTISED = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}

FAMILIES = _DENSE | _MIXTURES
"""`model_type` of the families whose answers are tested against `generate`."""


def unsupported_reason(model: Any) -> str | None:
    """Why a model cannot be batched continuously, in words for the log; None where it can."""
    config = model.config
    if reason := _other_attention(config):
        return reason
    if config.model_type not in FAMILIES:
        return f"its architecture ({config.model_type}) is not among {', '.join(sorted(FAMILIES))}"
    if stretched := stretching(model):
        return f"its positions ({', '.join(sorted(stretched))} rope) depend on the longest row of a batch"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention also looks ahead (use_bidirectional_attention)"
    return None


def _other_attention(config: Any) -> str | None:
    """What no pages of keys and values can be computed for here: a wrong answer would be worse than a slow one."""
    layers = set(getattr(config, "layer_types", None) or ())
    if "linear_attention" in layers or getattr(config, "linear_attn_config", None):
        return f"some layers of its architecture ({config.model_type}) have linear attention"
    if getattr(config, "kv_lora_rank", None):
        return f"its architecture ({config.model_type}) keeps compressed keys and values (multi-head latent attention)"
    if config.model_type == "gpt_oss":
        return f"its attention ({config.model_type}) has sinks, which would be ignored"
    return None


def kv_shape(
    config: Any, kv_dtype: Literal["auto", "int8", "fp8"] = "auto", kv_heads: int | None = None
) -> KVCacheSpec:
    """What the pages of a model have to hold; all layers alike, as each has a page wherever one has.

    `kv_heads` are those of a part of the model.
    """
    heads = config.num_attention_heads
    return KVCacheSpec(
        layers=config.num_hidden_layers,
        kv_heads=kv_heads or getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        quantised=_QUANTISED.get(kv_dtype),
    )
