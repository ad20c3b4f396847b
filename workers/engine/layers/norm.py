"""RMSNorm (Zhang and Sennrich, 2019) in fewer operations than the model classes take, for devices that run them singly.

Over the few rows of a decode step an operation hardly takes longer than its start.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pelton.workers.engine.native.kernels import kernels_for


class FusedRmsNorm(nn.Module):
    """Takes the place of a norm that scales in float32, rounds, and then multiplies by its weight, as Llama's does."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self._weight = norm.weight.detach()
        self._epsilon = torch.tensor([norm.variance_epsilon], dtype=torch.float32, device=self._weight.device)
        self._added = float(norm.variance_epsilon)

    def forward(self, rows: Tensor) -> Tensor:
        """[..., size] from [..., size]."""
        kernels = kernels_for(rows.dtype, rows.device)
        if kernels is not None and rows.dtype == self._weight.dtype:
            return kernels.rms_norm(rows, self._weight, self._added)
        wide = rows.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._epsilon, length, length, value=1 / rows.shape[-1]).rsqrt_()
        return torch.mul(wide, scale).to(rows.dtype).mul_(self._weight)

    __call__ = forward  # at once, as nobody hooks in here


def fuse_norms(model: Any) -> None:
    """Replace the norms of a model of the continuous engine's families that are of that kind; Gemma's round last.

    In other architectures a class of such a name may compute something else.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("RMSNorm") and hasattr(child, "variance_epsilon"):
                setattr(module, name, FusedRmsNorm(child))
