"""Linear layers with int8 weights for a CPU: a quarter of the memory of float32, and products of small integers.

A weight matrix has a scale for each output, the rows of a step one for each row, found as they come (Dettmers et al.:
"LLM.int8()", 2022). A row's result thus depends on no other row, whatever shares its step.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pelton.workers.engine.layers.int8_products import Int8Product, product_kind, weight_levels

_SMALLEST = 1e-30  # in place of the largest number of a row or a weight that is all zeros


class Int8Linear(nn.Module):
    """Takes the place of an `nn.Linear` for inference; its weight can no longer be read."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weights, scales = quantise(linear.weight.detach(), weight_levels())
        self._product: Int8Product = product_kind()(weights)
        self._scales = scales
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._outputs = linear.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features] from [..., in_features], in the data type of `rows`; NaN where a row has one."""
        flat = rows.reshape(-1, rows.shape[-1]).float()
        largest = torch.linalg.vector_norm(flat, float("inf"), dim=-1, keepdim=True).clamp_(min=_SMALLEST)
        result = self._product(flat / largest).mul_(self._scales).mul_(largest)
        if self._bias is not None:
            result.add_(self._bias)
        return result.view(*rows.shape[:-1], self._outputs).to(rows.dtype)

    __call__ = forward  # at once, as nobody hooks in here


def quantise(weights: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """int8 [out, in] within `levels`, and float32 scales [out] whose product with them is nearest to `weights`."""
    wide = weights.float()
    scales = wide.abs().amax(dim=1).clamp_(min=_SMALLEST).div_(levels)
    return (wide / scales[:, None]).round_().to(torch.int8), scales


def quantise_linears(model: Any) -> None:
    """Replace the linear layers of a model on a CPU, one after the other, so that there is never a second copy of all.

    Embeddings stay as they are, those that share their weights with the output layer too.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, Int8Linear(child))
