"""How queries and keys are made into scores: what the backends of attention have in common."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionParams:
    """How a layer makes weights of queries and keys; `window` tokens are visible (None: all before)."""

    scale: float
    window: int | None = None
    softcap: float | None = None

    def scores(self, products: Tensor, hidden: Tensor) -> Tensor:
        """Scores from products of queries and keys; `hidden`, which `additive_mask` made, is added last.

        They have the wider of both data types.
        """
        if self.softcap is None:
            return torch.add(hidden, products, alpha=self.scale)
        return products.float().mul_(self.scale / self.softcap).tanh_().mul_(self.softcap).add_(hidden)


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `visible`, elsewhere the lowest number: its exponential is 0 beside that of any real score.

    Minus infinity would turn into NaN where a query sees nothing at all.
    """
    return torch.where(visible, 0.0, torch.finfo(dtype).min).to(dtype)
