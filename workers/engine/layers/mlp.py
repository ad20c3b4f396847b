"""Gated feed-forward layers in fewer operations than the model classes take, for devices that run them singly."""

from typing import Any

from torch import Tensor, nn

from pelton.workers.engine.layers.fused_linear import join


class FusedMlp(nn.Module):
    """Takes the place of a layer of two gated halves (Shazeer: "GLU Variants Improve Transformer", 2020)."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        together = getattr(mlp, "gate_up_proj", None)
        self.joined = join([mlp.gate_proj, mlp.up_proj]) if together is None else together
        self.down_proj = mlp.down_proj
        self._activate = (mlp.act_fn if together is None else mlp.activation_fn).forward

    def forward(self, rows: Tensor) -> Tensor:
        """[..., hidden_size] from the same."""
        gate, up = self.joined(rows).chunk(2, dim=-1)
        mixed: Tensor = self.down_proj(self._activate(gate).mul_(up))
        return mixed

    __call__ = forward  # at once, as nobody hooks in here


def fuse_mlps(model: Any) -> None:
    """Replace the feed-forward layers of a model of the continuous engine's families that are of that kind.

    All are, but for mixtures of experts, which stay as they are.
    """
    for layer in model.get_decoder().layers:
        if isinstance(getattr(layer.mlp, "down_proj", None), nn.Module):
            layer.mlp = FusedMlp(layer.mlp)
