"""Linear layers that are given the same rows become one product: fewer and larger ones suit every device.

A decode step's products are so small that on a GPU each takes hardly longer than its start, and on a CPU the cores wait
for each other after each; queries, keys and values, and the two halves of a gated layer, come from the same rows.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pelton.workers.engine.layers.fp8_linear import Fp8Linear

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers that are given the same rows, in the order in which the model classes call them."""

_KINDS = (nn.Linear, Fp8Linear)


def join(linears: list[Any]) -> Any:
    """One linear layer that gives what several give, one after the other; all are of one kind, and all have a bias, or
    none has.
    """
    if type(linears[0]) is Fp8Linear:
        return Fp8Linear.joined(linears)
    bias = linears[0].bias is not None
    joined = nn.Linear(linears[0].in_features, sum(linear.out_features for linear in linears), bias=bias, device="meta")
    # Parameters, since a compiler takes only the sizes of those for fixed.
    joined.weight = _joined([linear.weight for linear in linears])
    if bias:
        joined.bias = _joined([linear.bias for linear in linears])
    return joined


def _joined(parameters: list[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([parameter.detach() for parameter in parameters]), requires_grad=False)


class _Fused(nn.Module):
    """The weights of several linear layers in one. The first that is called computes for all; the last lets go."""

    def __init__(self, linears: list[Any]) -> None:
        super().__init__()
        self.sizes = [linear.out_features for linear in linears]
        self.joined = join(linears)
        self.products: tuple[Tensor, ...] | None = None

    def product(self, rows: Tensor, part: int) -> Tensor:
        if part == 0:
            self.products = self.joined(rows).split_with_sizes(self.sizes, dim=-1)
        if self.products is None:
            raise RuntimeError("fused linear layers were not called in their order")
        mine = self.products[part]
        if part == len(self.sizes) - 1:
            self.products = None
        return mine


class FusedLinear(nn.Module):
    """Takes the place of one of several `nn.Linear` that are called with the same rows, one after the other."""

    def __init__(self, fused: _Fused, part: int) -> None:
        super().__init__()
        self._fused = fused
        self._part = part

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features] from [..., in_features]."""
        return self._fused.product(rows, self._part)


def fuse_linears(model: Any) -> None:
    """Replace what can be fused in a model, layer by layer, so that there is never a second copy of all weights.

    Their order in the model classes is taken as given; the families that the continuous engine runs keep it.
    """
    for module in list(model.modules()):
        for names in TOGETHER:
            found: list[Any] = [getattr(module, name, None) for name in names]
            linears = [linear for linear in found if type(linear) in _KINDS]
            if len(linears) == len(names) and len({(type(each), each.bias is None) for each in linears}) == 1:
                fused = _Fused(linears)
                for part, name in enumerate(names):
                    setattr(module, name, FusedLinear(fused, part))
