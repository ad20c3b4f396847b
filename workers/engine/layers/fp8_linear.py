"""Linear layers with fp8 weights: a byte for each, and products at twice the rate of bfloat16 on cards that have them.

The output layer, embeddings and the routers of experts stay as they are, as in all published fp8 checkpoints: an error
there reaches every answer undiluted, or sends a token to another expert.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from pelton.workers.engine.layers.fp8_products import FP8, MULTIPLE, quantise, scaled_product

_KEPT = frozenset({"gate", "router", "lm_head"})


class Fp8Linear(nn.Module):
    """Takes the place of an `nn.Linear` for inference."""

    def __init__(self, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> None:
        """`weight` is fp8 [out, in], `weight_scale` float32 [out, 1]."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.weight_scale = nn.Parameter(weight_scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """Quantise the weights of a layer."""
        return cls(*quantise(linear.weight.detach()), linear.bias)

    @classmethod
    def empty(cls, linear: nn.Linear) -> Self:
        """A layer of the same size whose weights are loaded later."""
        device = linear.weight.device
        scales = torch.empty(linear.out_features, 1, device=device)
        return cls(torch.empty(linear.weight.shape, dtype=FP8, device=device), scales, linear.bias)

    @classmethod
    def joined(cls, linears: Sequence[Self]) -> Self:
        """One layer that gives what several give, one after the other; all have a bias, or none has."""
        biases: list[Tensor] = [each.bias for each in linears if each.bias is not None]
        weight, scale = (torch.cat([getattr(each, name) for each in linears]) for name in ("weight", "weight_scale"))
        return cls(weight, scale, torch.cat(biases) if biases else None)

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features] from [..., in_features], in the data type of `rows`; NaN where a row has one."""
        product = scaled_product(rows.reshape(-1, self.in_features), self.weight, self.weight_scale)
        result = product.view(*rows.shape[:-1], self.out_features).to(rows.dtype)
        return result if self.bias is None else result + self.bias


def fits(linear: nn.Module | None) -> bool:
    """Whether a layer can be of fp8: a plain one, of sizes that cards multiply."""
    return type(linear) is nn.Linear and not any(size % MULTIPLE for size in linear.weight.shape)


def quantise_to_fp8(model: Any) -> int:
    """Replace the linear layers of a model, one after the other, so that there is never a second copy of all.

    Returns how many were left as they are because of their size.
    """
    output, left = model.get_output_embeddings(), 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is not nn.Linear or child is output or name in _KEPT:
                continue
            if fits(child):
                setattr(module, name, Fp8Linear.of(child))
            else:
                left += 1
    return left
