"""int8 weights in the order in which the kernels read them: `sources/products.c` has it."""

import ctypes
from ctypes import Structure, c_int64, c_void_p
from enum import IntEnum

import torch
from torch import Tensor, nn


class ProductWay(IntEnum):
    """How the processor multiplies bytes: `sources/products.c`."""

    NONE, VNNI, AMX = range(3)


class _Weights(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("inputs", "outputs", "way")),
        *((name, c_void_p) for name in ("blocks", "scales", "raised")),
    )


_COLUMNS, _DEPTH, _ROWS, _RAISED = 16, 64, 16, -128
"""Of a block of weights, of a tile of rows; what raises a level by 128."""


class Int8Weights:
    """int8 weights [out, in] in the order in which the kernels read them, with float32 scales [out]."""

    def __init__(self, weights: Tensor, scales: Tensor, way: ProductWay) -> None:
        self.way = way
        self.outputs, self.inputs = weights.shape
        self._depth = -(-self.inputs // _DEPTH) * _DEPTH
        whole = nn.functional.pad(weights, (0, self._depth - self.inputs, 0, -self.outputs % _COLUMNS))
        blocks = whole.view(-1, _COLUMNS, self._depth // _DEPTH, _DEPTH // 4, 4).permute(0, 2, 3, 1, 4).contiguous()
        raised = weights.sum(dim=1, dtype=torch.int32).mul_(-_RAISED)
        self._held = (blocks, scales.contiguous(), raised)  # the structure points at them
        self._weights = _Weights(self.inputs, self.outputs, way, *(each.data_ptr() for each in self._held))

    @property
    def address(self) -> int:
        return ctypes.addressof(self._weights)

    def as_read(self, levels: Tensor) -> Tensor:
        """int8 levels as the kernel reads them."""
        return levels ^ _RAISED if self.way is ProductWay.VNNI else levels

    def room_for(self, rows: int, *, twice: bool) -> Tensor:
        """For their levels, int8 [rows up to whole tiles, inputs up to whole blocks], or twice as many."""
        return torch.empty(((1 + twice) * -(-rows // _ROWS) * _ROWS, self._depth), dtype=torch.int8)
