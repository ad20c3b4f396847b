"""Triton: a layer's fresh keys and values into their pages."""

import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.attention.quantised_kv import LEVELS
from pelton.workers.engine.cuda.kernels.quantise import in_levels, magnitude


@triton.jit(do_not_specialize=["first"])
def _write_kernel(
    key, value, key_store, value_store, key_absmax, value_absmax, tables, slots, positions, first,
    key_row, key_head, value_row, value_head, table_width,
    PAGE: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr,
    BLOCK_HEADS: tl.constexpr, BLOCK_DIM: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    row = first + tl.program_id(0).to(tl.int64)
    position = tl.load(positions + row)
    page = tl.load(tables + tl.load(slots + row) * table_width + position // PAGE)
    heads = tl.arange(0, BLOCK_HEADS)[:, None]
    dims = tl.arange(0, BLOCK_DIM)[None, :]
    real = (heads < KV_HEADS) & (dims < DIM)
    token = (page * KV_HEADS + heads) * PAGE + position % PAGE
    keys = tl.load(key + row * key_row + heads * key_head + dims, mask=real, other=0.0)
    values = tl.load(value + row * value_row + heads * value_head + dims, mask=real, other=0.0)
    if LEVELS > 1.0:
        largest_key, largest_value = magnitude(keys, 1)[:, None], magnitude(values, 1)[:, None]
        tl.store(key_absmax + token, largest_key, mask=heads < KV_HEADS)
        tl.store(value_absmax + token, largest_value, mask=heads < KV_HEADS)
        keys = in_levels(keys, largest_key, key_store.dtype.element_ty, LEVELS)
        values = in_levels(values, largest_value, value_store.dtype.element_ty, LEVELS)
    tl.store(key_store + token * DIM + dims, keys, mask=real)
    tl.store(value_store + token * DIM + dims, values, mask=real)


def write_pages(
    keys: Tensor,
    values: Tensor,
    key_store: Tensor,
    value_store: Tensor,
    tables: Tensor,
    slots: Tensor,
    positions: Tensor,
    first: int = 0,
    absmax: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Store keys and values [rows, kv_heads, head_dim], from row `first` on, in a layer's pages.

    Those are [pages, kv_heads, page_size, head_dim], with the magnitudes `absmax` (`decode_attention`) where they are
    quantised. Row r is the token at `positions[r]` of the sequence whose pages
    are `tables[slots[r]]`; all three are int64. Of two rows for one place either may win: only rows of padding, which
    nobody reads, may share one.
    """
    rows, kv_heads, dim = keys.shape
    _write_kernel[(rows - first,)](
        keys, values, key_store, value_store, *(absmax or (key_store, value_store)), tables, slots, positions, first,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1), tables.stride(0),
        PAGE=key_store.shape[2], KV_HEADS=kv_heads, DIM=dim,
        BLOCK_HEADS=triton.next_power_of_2(kv_heads), BLOCK_DIM=triton.next_power_of_2(dim),
        LEVELS=LEVELS.get(key_store.dtype, 1.0),
    )  # fmt: skip
