"""Linear layers with int8 weights for a CPU: a quarter of the memory of float32, and products of small integers.

A weight matrix has a scale for each output, the rows of a step one for each row, found as they come (Dettmers et al.:
"LLM.int8()", 2022). A row's result thus depends on no other row, whatever shares its step.

One large number in a row leaves few levels to all others. Columns that are large in most rows are made smaller, and
their weights larger by as much (Xiao et al.: "SmoothQuant", 2023; `column_factors`). What a gated layer multiplies is
large in other columns in each row: its rows are quantised in two steps, the second for what the first left over.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pelton.workers.engine.layers.int8_products import (
    ROW_LEVELS,
    Int8Product,
    NativeProduct,
    kinds_here,
    weight_scales,
)
from pelton.workers.engine.native.kernels import kernels_for

_SMALLEST = 1e-30  # in place of the largest number of a row or a weight that is all zeros
_TWO_STEPS = frozenset({"down_proj"})
_REST = 2 * ROW_LEVELS  # what rounding leaves is at most half a level, and takes all levels when multiplied by this


class Int8Linear(nn.Module):
    """Takes the place of an `nn.Linear` for inference; its weight can no longer be read."""

    def __init__(
        self,
        linear: nn.Linear,
        factors: Tensor | None = None,
        *,
        two_steps: bool = False,
        kind: type[Int8Product] | None = None,
    ) -> None:
        """`factors` [in_features] divide the rows' columns and multiply those of the weights. `kind` is the kernel, by
        default the fastest.
        """
        super().__init__()
        wide = linear.weight.detach().float()
        weights, scales = quantise(wide if factors is None else wide * factors)
        self._product: Int8Product = (kind or kinds_here()[0])(weights, scales / ROW_LEVELS)
        self._inverse = None if factors is None else factors.reciprocal()
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._two_steps = two_steps

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features] from [..., in_features], in the data type of `rows`; NaN where a row has one."""
        flat = rows.reshape(-1, rows.shape[-1])
        kernels = kernels_for(rows.dtype, rows.device)
        if kernels is not None and isinstance(self._product, NativeProduct):
            result = self._product.linear(flat, self._inverse, self._bias, twice=self._two_steps)
        elif kernels is not None:
            levels, sizes = kernels.quantise(flat, self._inverse, twice=self._two_steps)
            result = kernels.rescale(self._product(levels), sizes, self._bias, rows.dtype)
        else:
            levels, sizes = self._levels(flat)
            result = self._result(self._product(levels), sizes).to(rows.dtype)
        return result.view(*rows.shape[:-1], -1)

    def _levels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Whole numbers from -127 to 127, those of a second step behind those of the first, and the rows' sizes."""
        rows = rows.float() if self._inverse is None else rows * self._inverse
        sizes = row_sizes(rows).clamp_(min=_SMALLEST)
        exact = rows * (ROW_LEVELS / sizes)
        levels = exact.round()
        if self._two_steps:
            levels = torch.cat((levels, exact.sub_(levels).mul_(_REST).round_()))
        return levels, sizes

    def _result(self, products: Tensor, sizes: Tensor) -> Tensor:
        if self._two_steps:
            products, rest = products.chunk(2)
            products.add_(rest, alpha=1 / _REST)
        products.mul_(sizes)
        return products if self._bias is None else products.add_(self._bias)

    __call__ = forward  # at once, as nobody hooks in here


def row_sizes(rows: Tensor) -> Tensor:
    """The largest magnitude of each row, [n, 1] from [n, in]; NaN where a row has one.

    In two operations: PyTorch's maximum norm is one, but ten times as slow as both, since it is not vectorised.
    """
    return rows.abs().amax(dim=-1, keepdim=True)


def quantise(weights: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] that every kernel multiplies exactly, and float32 scales [out] whose product is near `weights`."""
    scales = weight_scales(weights).clamp_(min=_SMALLEST)
    return (weights / scales[:, None]).round_().to(torch.int8), scales


def column_factors(weights: Tensor, sizes: Tensor) -> Tensor:
    """By what to divide columns of rows, given the largest numbers `sizes` [in] that they have had."""
    largest = weights.float().abs().amax(dim=0)
    kept = [each.clamp(min=each.mean().item() / 100 or _SMALLEST) for each in (sizes.float(), largest)]
    return (kept[0] / kept[1]).sqrt_()


def quantise_linears(model: Any, token_ids: Tensor) -> None:
    """Replace the linear layers of a model on a CPU, one after the other, so that there is never a second copy of all.

    How large the columns of their rows are is seen while the model reads `token_ids` [tokens]. Embeddings stay as they
    are, those that share their weights with the output layer too.
    """
    sizes = _column_sizes(model, token_ids)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                factors = column_factors(child.weight.detach(), sizes[child]) if child in sizes else None
                sizes.pop(child, None)
                setattr(module, name, Int8Linear(child, factors, two_steps=name in _TWO_STEPS))


@torch.inference_mode()
def _column_sizes(model: Any, token_ids: Tensor) -> dict[nn.Module, Tensor]:
    """The largest number in each column of the rows that each linear layer is given."""
    sizes: dict[nn.Module, Tensor] = {}

    def see(linear: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes[linear] = given[0].detach().abs().flatten(0, -2).amax(dim=0)

    hooks = [each.register_forward_pre_hook(see) for each in model.modules() if type(each) is nn.Linear]
    try:
        model(input_ids=token_ids[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
