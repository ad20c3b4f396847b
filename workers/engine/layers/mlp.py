"""Gated feed-forward layers in fewer operations than the model classes take, for devices that run them singly."""

from typing import Any

from torch import Tensor, nn
from transformers.activations import SiLUActivation

from pelton.workers.engine.layers.fused_linear import join
from pelton.workers.engine.native.kernels import kernels_for

_SILU = (nn.SiLU, SiLUActivation)


class FusedMlp(nn.Module):
    """Takes the place of a layer of two gated halves (Shazeer: "GLU Variants Improve Transformer", 2020)."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        together = getattr(mlp, "gate_up_proj", None)
        self.joined = join([mlp.gate_proj, mlp.up_proj]) if together is None else together
        self.down_proj = mlp.down_proj
        activation = mlp.act_fn if together is None else mlp.activation_fn
        self._activate = activation.forward
        self._is_silu = type(activation) in _SILU

    def forward(self, rows: Tensor) -> Tensor:
        """[..., hidden_size] from the same."""
        joined = self.joined(rows)
        kernels = kernels_for(joined.dtype, joined.device)
        if kernels is not None and self._is_silu:
            gated = kernels.gate_silu(joined)
        else:
            gate, up = joined.chunk(2, dim=-1)
            gated = self._activate(gate).mul_(up)
        mixed: Tensor = self.down_proj(gated)
        return mixed

    __call__ = forward  # at once, as nobody hooks in here


def fuse_mlps(model: Any) -> None:
    """Replace the feed-forward layers of a model of the continuous engine's families that are of that kind.

    All are, but for mixtures of experts, which stay as they are.
    """
    for layer in model.get_decoder().layers:
        if isinstance(getattr(layer.mlp, "down_proj", None), nn.Module):
            layer.mlp = FusedMlp(layer.mlp)
