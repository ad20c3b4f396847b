"""Attention layers whose operator also norms the heads of queries and keys, and turns them by their positions.

For a device whose kernels do that where they read them: what the projections give goes to the operator as it is.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pelton.workers.engine.layers.attention_kinds import HALF_SPLIT, INTERLEAVED, softcap_of, window_of

AttentionOperator = Callable[..., Tensor]
"""`cuda/paged_op.py` has it: from queries, keys, values and plain values to [rows, heads, head_dim]."""


class OperatorAttention(nn.Module):
    """Takes the place of an attention layer of a known class, for one packed row of tokens."""

    def __init__(self, attention: Any, attend: AttentionOperator) -> None:
        super().__init__()
        config = attention.config
        self.qkv_proj = getattr(attention, "qkv_proj", None)
        if self.qkv_proj is None:
            self.q_proj, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        self.o_proj = attention.o_proj
        normed = _head_norms(attention)
        weights: list[nn.Parameter | None] = [*map(_weight, normed)] or [None, None]
        self.query_weight, self.key_weight = weights
        self._epsilon = _epsilon(normed[0]) if normed else 0.0
        self._attend = attend
        self._layer: int = attention.layer_idx
        self._head_dim: int = attention.head_dim
        heads = config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads
        self._sizes = [each * self._head_dim for each in heads]
        self._scale = float(attention.scaling)
        self._window = window_of(attention) or 0
        self._softcap = softcap_of(attention) or 0.0
        self._interleaved = type(attention).__name__ in INTERLEAVED

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> tuple[Tensor, None]:
        """[1, rows, hidden_size] from the same."""
        queries, keys, values = (each[0].unflatten(-1, (-1, self._head_dim)) for each in self._projected(hidden_states))
        cosines, sines = position_embeddings
        mixed = self._attend(
            queries, keys, values, self._layer, self._scale, self._window, self._softcap, cosines[0], sines[0],
            self.query_weight, self.key_weight, self._epsilon, self._interleaved,
        )  # fmt: skip
        return self.o_proj(mixed.flatten(1)[None]), None

    def _projected(self, rows: Tensor) -> tuple[Tensor, ...]:
        if self.qkv_proj is None:
            return self.q_proj(rows), self.k_proj(rows), self.v_proj(rows)
        joined: Tensor = self.qkv_proj(rows)
        return joined.split_with_sizes(self._sizes, dim=-1)


def fuse_into_operator(model: Any, attend: AttentionOperator) -> None:
    """Replace the attention layers of a model of the continuous engine's families, in place, if they are of a known
    class and their norms, if they have any, are those of heads. All others stay as they are.
    """
    for layer in model.get_decoder().layers:
        if _is_known(layer.self_attn):
            layer.self_attn = OperatorAttention(layer.self_attn, attend)


def _is_known(attention: Any) -> bool:
    if type(attention).__name__ not in HALF_SPLIT | INTERLEAVED:
        return False
    norms = _head_norms(attention)
    return all(hasattr(norm, "weight") and norm.weight.shape == (attention.head_dim,) for norm in norms)


def _head_norms(attention: Any) -> tuple[Any, ...]:
    """Those of queries and of keys, or nothing."""
    found = (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
    return () if found == (None, None) else found


def _weight(norm: Any) -> nn.Parameter:
    """What a norm multiplies by, in float32: its weight, and 1 more in Gemma's."""
    weight = norm.weight.detach().float()
    return nn.Parameter(weight if hasattr(norm, "variance_epsilon") else weight + 1.0, requires_grad=False)


def _epsilon(norm: Any) -> float:
    return float(norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)
