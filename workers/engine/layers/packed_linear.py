"""Linear layers for a CPU, with the weights in the order in which oneDNN multiplies them.

PyTorch's own linear layers put them in that order again at each call, which over the few rows of a decode step takes a
good part of a product's time.
"""

from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """Takes the place of an `nn.Linear` for inference; its weight can no longer be read."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = linear.bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)  # noqa: SLF001 (below)
        self._bias = None if bias is None else bias.detach()
        # What TorchInductor compiles a frozen linear layer to; there is no public name for it.
        self._multiply = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001 (likewise)

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out_features] from [..., in_features]."""
        product: Tensor = self._multiply(rows, self._weight, self._bias, "none", [], "")
        return product

    __call__ = forward  # at once, as nobody hooks in here


def pack_linears(model: Any) -> None:
    """Replace the linear layers of a model on a CPU, one after the other, so that there is never a second copy of all.

    Does nothing where oneDNN cannot (`can_pack`).
    """
    if not can_pack(model.dtype):
        return
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes layers of this data type natively here, and takes their weights in its own order.

    Some processors do the first and not the second, which only trying shows.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    native = {
        torch.float32: True,
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported(),  # noqa: SLF001 (likewise)
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported(),  # noqa: SLF001 (likewise)
    }
    if not native.get(dtype, False):
        return False
    try:
        with torch.inference_mode():
            PackedLinear(nn.Linear(8, 8).to(dtype))(torch.zeros(1, 8, dtype=dtype))
    except RuntimeError:
        return False
    return True
