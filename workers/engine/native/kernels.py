"""The kernels as functions of tensors. `sources/` says what each computes."""

import ctypes
import functools
from collections.abc import Callable
from ctypes import CFUNCTYPE, Structure, c_float, c_int, c_int64, c_void_p
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.native.compiling import library
from pelton.workers.engine.native.int8_weights import Int8Weights, ProductWay

Ints = NDArray[np.int64]

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
"""The data types that kernels read; rows are of the first two."""

ROWS = frozenset({torch.float32, torch.bfloat16})

HEAD_MULTIPLE = 16
"""Attention is for heads whose size is a multiple of this."""


class _Plan(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("parts", "rows", "heads", "kv_heads", "dim", "page_size")),
        *(
            (name, c_void_p)
            for name in (
                "first_pages", "skipped", "tokens", "first_looks", "readers", "first_row_looks", "row_looks", "pages",
            )
        ),
    )  # fmt: skip


class DecodePlan:
    """Which pieces of text are read by which rows, as `sources/attention.c` has it."""

    def __init__(self, rows: int, sizes: tuple[int, int, int, int], arrays: tuple[Ints, ...]) -> None:
        """From heads, KV heads, head size and page size, and the int64 arrays in the order of the plan's fields."""
        self._arrays = arrays  # the plan points at them
        self._plan = _Plan(len(arrays[0]), rows, *sizes, *(each.ctypes.data for each in arrays))

    @property
    def address(self) -> int:
        return ctypes.addressof(self._plan)


class _Store(Structure):
    _fields_ = tuple((name, c_void_p) for name in ("keys", "values", "key_sizes", "value_sizes"))


class _Queries(Structure):
    _fields_ = (("numbers", c_void_p), ("stride", c_int64), ("scale", c_float), ("softcap", c_float))


class Kernels:
    """All of them; tensors are on the CPU, of a data type in `ROWS`, and their rows have no gaps unless it says so."""

    def __init__(self, found: ctypes.CDLL) -> None:
        def of(name: str, *types: Any) -> Callable[..., None]:
            kernel: Callable[..., None] = CFUNCTYPE(None, *types)((name, found))
            return kernel

        size, at = c_int64, c_void_p
        self._rms_norm = of("rms_norm", size, size, at, at, c_float, at, c_int)
        self._rotate = of("rotate", size, size, size, size, size, at, at, at, c_int)
        self._gate_silu = of("gate_silu", size, size, at, at, c_int)
        self._quantise = of("quantise", size, size, at, at, at, at, at, c_int)
        self._rescale = of("rescale", size, size, at, at, at, at, at, c_int)
        self.way_of_products = ProductWay(found.way_of_products())
        if self.way_of_products:
            self._int8_linear = of("int8_linear", at, size, at, at, at, c_int, at, at, at, c_int)
        self._decode = of("decode", at, at, at, at, at, c_int, c_int)
        self._write_tokens = of("write_tokens", at, at, size, size, size, at, size, at, size)

    def rms_norm(self, rows: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """[..., size] from the same, scaled to length 1 on average, rounded, and times `weight` [size]."""
        rows = rows.contiguous()
        size, out = rows.shape[-1], torch.empty_like(rows)
        self._rms_norm(
            rows.numel() // size, size, rows.data_ptr(), weight.data_ptr(), epsilon, out.data_ptr(), KINDS[rows.dtype]
        )
        return out

    def rotate(self, joined: Tensor, heads: int, cosines: Tensor, sines: Tensor) -> None:
        """Turn, in place, the first `heads` of `joined` [batch, rows, heads, dim] by [batch, rows, 1, size] each."""
        batch, rows, all_heads, dim = joined.shape
        cosines, sines = cosines.contiguous(), sines.contiguous()
        self._rotate(
            batch * rows, all_heads * dim, heads, dim, cosines.shape[-1], joined.data_ptr(), cosines.data_ptr(),
            sines.data_ptr(), KINDS[joined.dtype],
        )  # fmt: skip

    def gate_silu(self, joined: Tensor) -> Tensor:
        """[..., size] from [..., 2 size]: SiLU of the first half times the second."""
        joined = joined.contiguous()
        size = joined.shape[-1] // 2
        out = joined.new_empty((*joined.shape[:-1], size))
        self._gate_silu(out.numel() // size, size, joined.data_ptr(), out.data_ptr(), KINDS[joined.dtype])
        return out

    def quantise(self, rows: Tensor, factors: Tensor | None, *, twice: bool) -> tuple[Tensor, Tensor]:
        """int8 [n, in] from [n, in] times `factors`, and the largest of each row, float32 [n].

        `twice`: [2n, in], the second half for what the first left over. A row with NaN has NaN for its largest.
        """
        rows = rows.contiguous()
        count, size = rows.shape
        levels = torch.empty((2 * count if twice else count, size), dtype=torch.int8)
        sizes = torch.empty(count)
        self._quantise(
            count, size, rows.data_ptr(), _pointer(factors), levels.data_ptr(),
            levels.data_ptr() + count * size if twice else None, sizes.data_ptr(), KINDS[rows.dtype],
        )  # fmt: skip
        return levels, sizes

    def rescale(self, products: Tensor, sizes: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """[n, out] from float32 products [n or 2n, out] of what `quantise` gave."""
        count, size = len(sizes), products.shape[1]
        out = torch.empty((count, size), dtype=dtype)
        rest = products.data_ptr() + count * size * products.itemsize if len(products) > count else None
        self._rescale(
            count, size, products.data_ptr(), rest, sizes.data_ptr(), _pointer(bias), out.data_ptr(), KINDS[dtype]
        )
        return out

    def int8_linear(
        self, weights: Int8Weights, rows: Tensor, factors: Tensor | None, bias: Tensor | None, *, twice: bool
    ) -> Tensor:
        """[n, out] from [n, in] times `factors`: what `quantise`, a product and `rescale` do, in one call.

        Raises ValueError for rows of another length than the weights have inputs.
        """
        rows = rows.contiguous()
        count, inputs = rows.shape
        if inputs != weights.inputs:
            raise ValueError(f"rows of {inputs} numbers for weights of {weights.inputs} inputs")
        levels, sizes = weights.room_for(count, twice=twice), torch.empty(count)
        out = rows.new_empty((count, weights.outputs))
        self._int8_linear(
            weights.address, count, rows.data_ptr(), _pointer(factors), _pointer(bias), twice, levels.data_ptr(),
            sizes.data_ptr(), out.data_ptr(), KINDS[rows.dtype],
        )  # fmt: skip
        return out

    def int8_product(self, weights: Int8Weights, levels: Tensor) -> Tensor:
        """Float32 [n, out] from int8 levels [n, in]."""
        count, inputs = levels.shape
        room, out = weights.room_for(count, twice=False), torch.empty((count, weights.outputs))
        room[:count, :inputs] = weights.as_read(levels)
        self._int8_linear(
            weights.address, count, None, None, None, False, room.data_ptr(), None, out.data_ptr(), KINDS[out.dtype]
        )
        return out

    def write_tokens(self, layer: Tensor, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store [tokens, kv_heads, dim] in `layer` [slots, dim], keys and then values; tokens may have gaps.

        Raises TypeError where they are not of the layer's data type.
        """
        if not keys.dtype == values.dtype == layer.dtype:
            raise TypeError(f"keys in {keys.dtype} and values in {values.dtype} for pages of {layer.dtype}")
        keys, values = _whole_heads(keys), _whole_heads(values)
        tokens, heads, dim = keys.shape
        item = keys.itemsize
        self._write_tokens(
            layer.data_ptr(), places.data_ptr(), tokens, heads, dim * item, keys.data_ptr(), keys.stride(0) * item,
            values.data_ptr(), values.stride(0) * item,
        )  # fmt: skip

    def decode(  # noqa: PLR0913, PLR0917 (what attention takes)
        self,
        plan: DecodePlan,
        store: tuple[Tensor, Tensor],
        sizes: tuple[Tensor, Tensor] | None,
        queries: Tensor,
        scale: float,
        softcap: float,
        given: Tensor,
    ) -> Tensor:
        """[rows, heads, dim] from queries of that shape, whose rows may have gaps.

        `sizes` are the largest magnitudes of what is stored in int8. `given` float32 [looks x heads x (dim + 2)] is
        overwritten. No cap: 0. Raises TypeError where what is stored is neither int8 nor of the queries' data type.
        """
        if store[0].dtype not in {queries.dtype, torch.int8}:
            raise TypeError(f"queries in {queries.dtype} for pages of {store[0].dtype}")
        queries = _whole_heads(queries)
        out = queries.new_empty(queries.shape)
        stored = _Store(*(each.data_ptr() for each in (*store, *(sizes or ()))))
        asked = _Queries(queries.data_ptr(), queries.stride(0), scale, softcap)
        self._decode(
            plan.address, ctypes.addressof(stored), ctypes.addressof(asked), given.data_ptr(), out.data_ptr(),
            KINDS[queries.dtype], KINDS[store[0].dtype],
        )  # fmt: skip
        return out


def _whole_heads(rows: Tensor) -> Tensor:
    """Rows [n, heads, dim] whose heads follow each other, copied where they do not."""
    return rows if rows.stride()[1:] == (rows.shape[2], 1) else rows.contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def _kernels() -> Kernels | None:
    found = library()
    return None if found is None else Kernels(found)


def kernels_for(dtype: torch.dtype, device: torch.device) -> Kernels | None:
    """The kernels, where there are any for rows of this data type; PyTorch's operations do the same elsewhere."""
    return _kernels() if device.type == "cpu" and dtype in ROWS else None
