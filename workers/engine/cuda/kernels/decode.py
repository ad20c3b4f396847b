"""Triton: attention of single queries over pages ("Flash-Decoding", Dao et al., 2023).

One program for each sequence, KV head and split of the sequence's pages. The query heads of a KV head are rows of one
product, padded to the 16 that the hardware multiplies; reading the pages is all that takes time. Whoever has the last
of a sequence's pages also writes the newest token's key and value into it. A second kernel merges the splits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.scores import EVERYTHING, absorb, absorb_one, constants, page_scores

_LEAST_ROWS = 16
_MOST_SPLITS = 32

# Programs that keep a card's memory busy, with enough of them over to even out sequences of unequal length.
_PROGRAMS = 4096


@triton.jit
def _my_pages(position, window, split, splits, PAGE: tl.constexpr):
    """The pages [begin, end) of a split, of which the last ones may get none; and those [first, last) of all."""
    first = tl.maximum(position + 1 - window, 0) // PAGE
    last = position // PAGE + 1
    share = tl.cdiv(last - first, splits)
    begin = first + split * share
    return begin, tl.minimum(begin + share, last), tl.cdiv(last - first, share)


@triton.jit
def _decode_kernel(
    query, key, value, key_store, value_store, tables, slots, writes, positions, out, parts, peaks,
    query_row, query_head, key_row, key_head, value_row, value_head, table_width, scale, softcap, window,
    PAGE: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_DIM: tl.constexpr,
    CAPPED: tl.constexpr, PRECISION: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    splits = tl.num_programs(2)
    position = tl.load(positions + row).to(tl.int32)
    begin, end, _ = _my_pages(position, window, split, splits, PAGE)
    if begin >= end:
        return
    table = tables + tl.load(slots + row) * table_width
    members = tl.arange(0, BLOCK_ROWS)
    dims = tl.arange(0, BLOCK_DIM)
    heads = kv_head * GROUP + members
    mine = (members < GROUP)[:, None] & (dims < DIM)[None, :]
    queries = tl.load(query + row * query_row + heads[:, None] * query_head + dims[None, :], mask=mine, other=0.0)
    inside = tl.arange(0, PAGE)
    within = inside[:, None] * DIM + dims[None, :]
    peak = tl.full((BLOCK_ROWS,), -1.0e30, tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    mixed = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    for index in range(begin, end):
        page = (tl.load(table + index) * KV_HEADS + kv_head) * (PAGE * DIM)
        at = index * PAGE + inside
        visible = (at < position) & (at > position - window)
        there = visible[:, None] & (dims < DIM)[None, :]
        keys = tl.load(key_store + page + within, mask=there, other=0.0)
        scores = page_scores(queries, keys, visible[None, :], scale, softcap, CAPPED, PRECISION)
        values = tl.load(value_store + page + within, mask=there, other=0.0)
        peak, total, mixed = absorb(scores, values, peak, total, mixed, PRECISION)
    if end == position // PAGE + 1:
        real = dims < DIM
        newest_key = tl.load(key + row * key_row + kv_head * key_head + dims, mask=real, other=0.0)
        newest_value = tl.load(value + row * value_row + kv_head * value_head + dims, mask=real, other=0.0)
        peak, total, mixed = absorb_one(queries, newest_key, newest_value, scale, softcap, peak, total, mixed, CAPPED)
        page = tl.load(tables + tl.load(writes + row) * table_width + position // PAGE) * KV_HEADS + kv_head
        place = (page * PAGE + position % PAGE) * DIM + dims
        tl.store(key_store + place, newest_key, mask=real)
        tl.store(value_store + place, newest_value, mask=real)
    mixed = mixed / total[:, None]
    if MERGED:
        place = (row * KV_HEADS * GROUP + heads) * splits + split
        tl.store(peaks + place, peak + tl.log2(total), mask=members < GROUP)
        tl.store(parts + place[:, None] * DIM + dims[None, :], mixed, mask=mine)
    else:
        place = (row * KV_HEADS * GROUP + heads)[:, None] * DIM + dims[None, :]
        tl.store(out + place, mixed.to(out.dtype.element_ty), mask=mine)


@triton.jit
def _merge_kernel(
    parts, peaks, positions, out, window,
    PAGE: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = row * HEADS + tl.program_id(1)
    _, _, used = _my_pages(tl.load(positions + row).to(tl.int32), window, 0, SPLITS, PAGE)
    splits = tl.arange(0, SPLITS)
    dims = tl.arange(0, BLOCK_DIM)
    peak = tl.load(peaks + head * SPLITS + splits, mask=splits < used, other=-1.0e30)
    weights = tl.exp2(peak - tl.max(peak, 0))
    there = (splits < used)[:, None] & (dims < DIM)[None, :]
    place = (head * SPLITS + splits)[:, None] * DIM + dims[None, :]
    mixed = tl.sum(tl.load(parts + place, mask=there, other=0.0) * weights[:, None], 0) / tl.sum(weights, 0)
    tl.store(out + head * DIM + dims, mixed.to(out.dtype.element_ty), mask=dims < DIM)


def splits_for(rows: int, kv_heads: int) -> int:
    """Into how many parts each sequence is split, a power of two: the fewer sequences, the more."""
    wanted = triton.next_power_of_2(triton.cdiv(_PROGRAMS, rows * kv_heads))
    return min(_MOST_SPLITS, wanted)


def decode_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    key_store: Tensor,
    value_store: Tensor,
    tables: Tensor,
    slots: Tensor,
    writes: Tensor,
    positions: Tensor,
    out: Tensor,
    scoring: AttentionParams,
    splits: int | None = None,
    launch: dict[str, int] | None = None,
) -> None:
    """Into `out` [rows, heads, head_dim], contiguous, from queries of that shape.

    Row r is the token at `positions[r]` of the sequence whose pages are `tables[slots[r]]`, all int64. Its own `keys`
    and `values` [rows, kv_heads, head_dim] are put at that position of the pages `tables[writes[r]]`, into the store
    [pages, kv_heads, page_size, head_dim]. `splits` (a power of two) and `launch` (the kernel's warps and stages) are
    chosen where they are not given.
    """
    rows, heads, dim = queries.shape
    known = constants(queries, key_store, scoring)
    splits = splits or splits_for(rows, int(known["KV_HEADS"]))
    window = EVERYTHING if scoring.window is None else scoring.window
    parts = queries.new_empty((rows, heads, splits, dim) if splits > 1 else (0,), dtype=torch.float32)
    peaks = queries.new_empty((rows, heads, splits) if splits > 1 else (0,), dtype=torch.float32)
    _decode_kernel[(rows, known["KV_HEADS"], splits)](
        queries, keys, values, key_store, value_store, tables, slots, writes, positions, out, parts, peaks,
        queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
        tables.stride(0), scoring.scale, scoring.softcap or 1.0, window,
        **known, BLOCK_ROWS=max(_LEAST_ROWS, triton.next_power_of_2(int(known["GROUP"]))), MERGED=splits > 1,
        **(launch or launch_for(key_store)),
    )  # fmt: skip
    if splits > 1:
        _merge_kernel[(rows, heads)](
            parts, peaks, positions, out, window,
            PAGE=known["PAGE"], HEADS=heads, DIM=dim, BLOCK_DIM=known["BLOCK_DIM"], SPLITS=splits, num_warps=2,
        )  # fmt: skip


def launch_for(key_store: Tensor) -> dict[str, int]:
    """Few warps: a program only waits for memory. What does not fit into the registers of two takes more."""
    _, _, page, dim = key_store.shape
    tile_bytes = page * dim * key_store.element_size()
    return {"num_warps": min(8, max(2, tile_bytes // 2**13)), "num_stages": 2 if tile_bytes <= 2**15 else 1}
