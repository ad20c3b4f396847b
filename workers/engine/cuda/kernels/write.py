"""Triton: a layer's fresh keys and values into their pages."""

import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.attention.quantised_kv import LEVELS
from pelton.workers.engine.cuda.kernels.launching import dependent_launch, follow
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope, load_heads, norm_rope_arguments
from pelton.workers.engine.cuda.kernels.quantise import in_levels, magnitude


@triton.jit(do_not_specialize=["first"])
def _write_kernel(
    query, key, value, key_store, value_store, key_absmax, value_absmax, tables, slots, positions, out,
    cosines, sines, query_weight, key_weight, rope_row, epsilon, first,
    query_row, query_head, key_row, key_head, value_row, value_head, table_width,
    PAGE: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr,
    BLOCK_HEADS: tl.constexpr, BLOCK_DIM: tl.constexpr, LEVELS: tl.constexpr,
    ROTARY: tl.constexpr, INTERLEAVED: tl.constexpr, NORMED: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    row = first + tl.program_id(0).to(tl.int64)
    heads = tl.arange(0, BLOCK_HEADS)[:, None]
    dims = tl.arange(0, BLOCK_DIM)[None, :]
    real = (heads < KV_HEADS) & (dims < DIM)
    if tl.program_id(1) > 0:  # one query head of each KV head
        mine = heads * GROUP + tl.program_id(1) - 1
        queries = load_heads(
            query + row * query_row + mine * query_head, dims, real, query_weight, epsilon,
            cosines + row * rope_row, sines + row * rope_row, 1, DIM, ROTARY, INTERLEAVED, NORMED,
        )  # fmt: skip
        tl.store(out + (row * KV_HEADS * GROUP + mine) * DIM + dims, queries, mask=real)
        return
    position = tl.load(positions + row)
    page = tl.load(tables + tl.load(slots + row) * table_width + position // PAGE)
    token = (page * KV_HEADS + heads) * PAGE + position % PAGE
    keys = load_heads(
        key + row * key_row + heads * key_head, dims, real, key_weight, epsilon,
        cosines + row * rope_row, sines + row * rope_row, 1, DIM, ROTARY, INTERLEAVED, NORMED,
    )  # fmt: skip
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
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    key_store: Tensor,
    value_store: Tensor,
    tables: Tensor,
    slots: Tensor,
    positions: Tensor,
    out: Tensor,
    first: int = 0,
    absmax: tuple[Tensor, Tensor] | None = None,
    norm_rope: NormRope | None = None,
) -> Tensor:
    """Store keys and values [rows, kv_heads, head_dim], from row `first` on, in a layer's pages.

    Those are [pages, kv_heads, page_size, head_dim], with the magnitudes `absmax` (`decode_attention`) where they are
    quantised. Row r is the token at `positions[r]` of the sequence whose pages are `tables[slots[r]]`; all three are
    int64. Of two rows for one place either may win: only rows of padding, which nobody reads, may share one.

    Returns queries as attention takes them: those given [rows, heads, head_dim], or, where `norm_rope` is to be done to
    them and to the keys, `out`, contiguous and of that shape, whose rows from `first` on have them.
    """
    rows, kv_heads, dim = keys.shape
    group = queries.shape[1] // kv_heads
    pending, compiled_for = norm_rope_arguments(norm_rope, queries)
    _write_kernel[(rows - first, 1 if norm_rope is None else 1 + group)](
        queries, keys, values, key_store, value_store, *(absmax or (key_store, value_store)), tables, slots, positions,
        out, *pending, first,
        queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
        tables.stride(0), PAGE=key_store.shape[2], KV_HEADS=kv_heads, GROUP=group, DIM=dim,
        BLOCK_HEADS=triton.next_power_of_2(kv_heads), BLOCK_DIM=triton.next_power_of_2(dim),
        LEVELS=LEVELS.get(key_store.dtype, 1.0), **compiled_for, **dependent_launch(queries.device),
    )  # fmt: skip
    return queries if norm_rope is None else out
