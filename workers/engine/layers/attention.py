"""Attention layers in fewer operations than the model classes take, for devices that run them singly.

Queries, keys and values are one product, and its queries and keys are turned by their positions where they lie (Su et
al.: "RoFormer", 2021). Attention itself is whatever the model is set to.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from pelton.workers.engine.layers.attention_kinds import INTERLEAVED, window_of
from pelton.workers.engine.layers.fused_linear import join
from pelton.workers.engine.native.kernels import kernels_for

_REPLACED = frozenset({"LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention"}) | INTERLEAVED


class FusedRotary(nn.Module):
    """Takes the place of a model's rotary embedding, and prepares once what all its `FusedAttention` layers need."""

    def __init__(self, rotary: Any) -> None:
        super().__init__()
        self._rotary = rotary

    @property
    def size(self) -> int:
        """How many numbers of a head are turned; the rest stay as they are."""
        return 2 * len(self._rotary.inv_freq)

    def forward(self, rows: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [batch, rows, 1, size]; the first half of the sines with the other sign."""
        cosines, sines = self._rotary(rows, position_ids)
        sines[..., : self.size // 2].neg_()
        return cosines[:, :, None], sines[:, :, None]


class FusedAttention(nn.Module):
    """Takes the place of an attention layer of the classes named above, for inference."""

    def __init__(self, attention: Any, rotary_dim: int) -> None:
        super().__init__()
        linears = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.joined = join(linears)
        self.o_proj = attention.o_proj
        self.q_norm, self.k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self._eager = sys.modules[type(attention).__module__].eager_attention_forward
        # What the functions of attention ask a layer for.
        self.config = attention.config
        self.layer_idx = attention.layer_idx
        self.num_key_value_groups = attention.num_key_value_groups
        self.is_causal = attention.is_causal
        self._scaling = attention.scaling
        self._window = window_of(attention)
        self._head_dim = attention.head_dim
        self._rotary_dim = rotary_dim
        self._heads = [linear.out_features // self._head_dim for linear in linears]
        if type(attention).__name__ in INTERLEAVED:
            self._part_neighbours()

    def _part_neighbours(self) -> None:
        """Reorder heads' numbers so that halves are turned together; products of queries and keys stay the same."""
        order = torch.arange(self.joined.out_features).view(-1, self._head_dim)
        rotated = order[: sum(self._heads[:2]), : self._rotary_dim]
        rotated.copy_(torch.cat((rotated[:, 0::2], rotated[:, 1::2]), dim=-1))
        for parameter in self.joined.parameters():
            parameter.data = parameter.data[order.view(-1)]

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """[batch, rows, hidden_size] from the same, and weights where the attention gives any."""
        joined = self.joined(hidden_states).unflatten(-1, (-1, self._head_dim))
        queries, keys, values = joined.split_with_sizes(self._heads, dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            queries.copy_(self.q_norm(queries))
            keys.copy_(self.k_norm(keys))
        cosines, sines = position_embeddings
        self._rotate(joined, cosines, sines)
        queries, keys, values = queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, self._eager)  # noqa: SLF001 (no public name)
        mixed, weights = attend(
            self,
            queries,
            keys,
            values,
            attention_mask,
            dropout=0.0,
            scaling=self._scaling,
            sliding_window=self._window,
            **kwargs,
        )
        return self.o_proj(mixed.flatten(2)), weights

    def _rotate(self, joined: Tensor, cosines: Tensor, sines: Tensor) -> None:
        turned = sum(self._heads[:2])
        kernels = kernels_for(joined.dtype, joined.device)
        if kernels is not None and (len(cosines), cosines.dtype) == (len(joined), joined.dtype):
            kernels.rotate(joined, turned, cosines, sines)
            return
        rotated = joined.narrow(2, 0, turned).narrow(3, 0, self._rotary_dim)
        swapped = rotated.roll(self._rotary_dim // 2, dims=-1)
        rotated.mul_(cosines).addcmul_(swapped, sines)

    __call__ = forward  # at once, as nobody hooks in here


def fuse_attentions(model: Any) -> None:
    """Replace the attention layers of a model of the continuous engine's families, if they are of the classes above."""
    body = model.get_decoder()
    if type(body.layers[0].self_attn).__name__ not in _REPLACED:
        return
    body.rotary_emb = FusedRotary(body.rotary_emb)
    for layer in body.layers:
        layer.self_attn = FusedAttention(layer.self_attn, body.rotary_emb.size)
