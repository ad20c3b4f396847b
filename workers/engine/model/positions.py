"""Rotary positions whose frequencies transformers chooses by the longest row of a batch, chosen once instead.

With longrope a row beyond the length of the pretraining gives long factors to all its neighbours, and with dynamic NTK
a longer row lowers the frequencies of all: an answer would depend on its neighbours, and keys in the cache on what ran
beside them. Here the factors are those of the longest context that is served, for every row and from its first token,
as vLLM does it. A context within the pretraining's has the short factors.
"""

from collections.abc import Iterator
from typing import Any

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

STRETCHED = frozenset({"dynamic", "longrope"})
_FIXED = "fixed"


def fix_positions(model: Any, context_length: int) -> None:
    """Give each rotary embedding of `model`, in place, the frequencies for `context_length`.

    A second call does nothing.
    """
    for module, layer_type, rope_type in _stretching(model):
        prefix = "" if layer_type is None else f"{layer_type}_"
        frequencies = getattr(module, f"{prefix}inv_freq")
        found, scaling = ROPE_INIT_FUNCTIONS[rope_type](
            module.config, frequencies.device, seq_len=context_length, layer_type=layer_type
        )
        frequencies.copy_(found)
        setattr(module, f"{prefix}attention_scaling", scaling)
        if layer_type is None:
            module.rope_type = _FIXED
        else:
            module.rope_type = {**module.rope_type, layer_type: _FIXED}


def are_fixed(model: Any) -> bool:
    """Whether answers depend on the context that was served when the positions were fixed."""
    types = (getattr(module, "rope_type", None) for module in model.modules())
    return any(_FIXED in stated.values() if isinstance(stated, dict) else stated == _FIXED for stated in types)


def stretching(model: Any) -> frozenset[str]:
    """Kinds of positions in a model that still depend on the longest row of a batch."""
    return frozenset(rope_type for _, _, rope_type in _stretching(model))


def _stretching(model: Any) -> Iterator[tuple[Any, str | None, str]]:
    """Each rotary embedding with its layers' type (None: it is all layers') and the type of its positions."""
    for module in model.modules():
        stated = getattr(module, "rope_type", None)
        each = stated if isinstance(stated, dict) else {None: stated}
        for layer_type, rope_type in each.items():
            if rope_type in STRETCHED and hasattr(module, "config"):
                yield module, layer_type, rope_type
