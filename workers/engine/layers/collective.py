"""Layers of which each process of a group holds a part, and which exchange what they computed with the others.

Megatron-LM's scheme (Shoeybi et al., 2019): a layer cut by its outputs needs no exchange where the next one is cut by
its inputs, whose partial sums are added up across the group. All ranks must call the same layers in the same order.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SummedLinear(nn.Module):
    """A linear layer cut by its inputs: this rank's columns, and the sum of what all ranks have."""

    def __init__(self, part: nn.Linear, bias: Tensor | None, columns: slice | None = None) -> None:
        """`part` has this rank's weights and no bias; `columns` are cut from rows that every rank has in full."""
        super().__init__()
        self.part = part
        self._bias = bias
        self._columns = columns

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features], the same on all ranks, from this rank's inputs, or from all where it has `columns`."""
        product: Tensor = self.part(rows if self._columns is None else rows[..., self._columns])
        dist.all_reduce(product)
        return product if self._bias is None else product.add_(self._bias)

    __call__ = forward  # at once, as nobody hooks in here


class GatheredLinear(nn.Module):
    """A linear layer cut by its outputs, which are brought together on all ranks."""

    def __init__(self, part: nn.Linear, sizes: list[int]) -> None:
        """`sizes` are the outputs that each rank has, in the order of ranks; the first is the largest."""
        super().__init__()
        self.part = part
        self._sizes = sizes

    def forward(self, rows: Tensor) -> Tensor:
        """[..., sum of sizes], the same on all ranks, from rows that all have."""
        product: Tensor = self.part(rows)
        most = self._sizes[0]
        padded = nn.functional.pad(product, (0, most - product.shape[-1])).contiguous()
        parts = [torch.empty_like(padded) for _ in self._sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[..., :size] for part, size in zip(parts, self._sizes, strict=True)], dim=-1)

    __call__ = forward  # at once, as nobody hooks in here


class SummedExperts(nn.Module):
    """A mixture's experts, of each of which this rank has a part of the inner numbers."""

    def __init__(self, experts: Any) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, *given: Any) -> Tensor:
        """What the experts give, summed over all ranks."""
        mixed: Tensor = self.experts(*given)
        dist.all_reduce(mixed)
        return mixed

    __call__ = forward  # at once, as nobody hooks in here
