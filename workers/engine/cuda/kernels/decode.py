"""Triton: attention of single queries over pages ("Flash-Decoding", Dao et al., 2023).

One program for each KV head and each item of `splits.py`: some of the pages of one sequence. The query heads of a KV
head are rows of one product, padded to the 16 that the hardware multiplies; reading the pages is all that takes time.
Whoever has the last of a sequence's pages also writes the newest token's key and value into it. A second kernel merges
the results of sequences that were split.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.launching import dependent_launch, follow
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope, load_heads, norm_rope_arguments
from pelton.workers.engine.cuda.kernels.quantise import magnitudes_at, store_one
from pelton.workers.engine.cuda.kernels.scores import (
    EVERYTHING,
    absorb,
    absorb_one,
    constants,
    page_scores,
    tile_bytes,
)
from pelton.workers.engine.cuda.kernels.splits import Splits

_LEAST_ROWS = 16
_MERGED_AT_ONCE = 32
_UNSEEN = tl.constexpr(-1.0e29)


@triton.jit
def _decode_kernel(
    query, key, value, key_store, value_store, key_absmax, value_absmax,
    tables, slots, writes, positions, items, out, parts, peaks,
    cosines, sines, query_weight, key_weight, rope_row, epsilon,
    query_row, query_head, key_row, key_head, value_row, value_head, table_width, scale, softcap, window,
    PAGE: tl.constexpr, TILE: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_DIM: tl.constexpr, CAPPED: tl.constexpr, LEVELS: tl.constexpr,
    PRECISION: tl.constexpr, ROTARY: tl.constexpr, INTERLEAVED: tl.constexpr, NORMED: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    item = items + tl.program_id(0) * 4
    row = tl.load(item)
    begin = tl.load(item + 1).to(tl.int32)
    end = tl.load(item + 2).to(tl.int32)
    part = tl.load(item + 3)
    if begin >= end:
        return
    kv_head = tl.program_id(1)
    position = tl.load(positions + row).to(tl.int32)
    table = tables + tl.load(slots + row) * table_width
    members = tl.arange(0, BLOCK_ROWS)
    dims = tl.arange(0, BLOCK_DIM)
    heads = kv_head * GROUP + members
    mine = (members < GROUP)[:, None] & (dims < DIM)[None, :]
    queries = load_heads(
        query + row * query_row + heads[:, None] * query_head, dims[None, :], mine, query_weight, epsilon,
        cosines + row * rope_row, sines + row * rope_row, 1, DIM, ROTARY, INTERLEAVED, NORMED,
    )  # fmt: skip
    tiles: tl.constexpr = PAGE // TILE
    inside = tl.arange(0, TILE)
    within = inside[:, None] * DIM + dims[None, :]
    peak = tl.full((BLOCK_ROWS,), -1.0e30, tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    mixed = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    first = tl.maximum(begin * tiles, tl.maximum(position + 1 - window, 0) // TILE)
    for index in range(first, tl.minimum(end * tiles, position // TILE + 1)):
        tile = (tl.load(table + index // tiles) * KV_HEADS + kv_head) * PAGE + index % tiles * TILE
        at = index * TILE + inside
        visible = (at < position) & (at > position - window)
        there = visible[:, None] & (dims < DIM)[None, :]
        keys = tl.load(key_store + tile * DIM + within, mask=there, other=0.0).to(queries.dtype)
        scales = scale * magnitudes_at(key_absmax, tile + inside, visible, LEVELS)
        scores = page_scores(queries, keys, visible[None, :], scales, softcap, CAPPED, PRECISION)
        values = tl.load(value_store + tile * DIM + within, mask=there, other=0.0).to(queries.dtype)
        magnitudes = magnitudes_at(value_absmax, tile + inside, visible, LEVELS)
        peak, total, mixed = absorb(scores, values, magnitudes, peak, total, mixed, PRECISION)
    if end == position // PAGE + 1:
        real = dims < DIM
        newest_key = load_heads(
            key + row * key_row + kv_head * key_head, dims, real, key_weight, epsilon,
            cosines + row * rope_row, sines + row * rope_row, 0, DIM, ROTARY, INTERLEAVED, NORMED,
        )  # fmt: skip
        newest_value = tl.load(value + row * value_row + kv_head * value_head + dims, mask=real, other=0.0)
        page = tl.load(tables + tl.load(writes + row) * table_width + position // PAGE)
        token = (page * KV_HEADS + kv_head) * PAGE + position % PAGE
        newest_key = store_one(newest_key, key_store, key_absmax, token, dims, DIM, LEVELS)
        newest_value = store_one(newest_value, value_store, value_absmax, token, dims, DIM, LEVELS)
        peak, total, mixed = absorb_one(queries, newest_key, newest_value, scale, softcap, peak, total, mixed, CAPPED)
    # Pages before the window leave a total of nothing, with the peak of something that was not seen.
    total = tl.where(total > 0, total, 1.0)
    mixed = mixed / (total * LEVELS)[:, None]
    if part >= 0:
        result = part * (KV_HEADS * GROUP) + heads
        tl.store(peaks + result, peak + tl.log2(total), mask=members < GROUP)
        tl.store(parts + result[:, None] * DIM + dims[None, :], mixed, mask=mine)
    else:
        result = row * (KV_HEADS * GROUP) + heads
        tl.store(out + result[:, None] * DIM + dims[None, :], mixed.to(out.dtype.element_ty), mask=mine)


@triton.jit
def _merge_kernel(
    parts, peaks, offsets, out,
    HEADS: tl.constexpr, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr, BLOCK_PARTS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    begin = tl.load(offsets + row).to(tl.int32)
    end = tl.load(offsets + row + 1).to(tl.int32)
    if begin >= end:
        return
    dims = tl.arange(0, BLOCK_DIM)
    highest = tl.full((1,), -1.0e30, tl.float32)
    total = tl.zeros((1,), tl.float32)
    mixed = tl.zeros((BLOCK_DIM,), tl.float32)
    for start in range(begin, end, BLOCK_PARTS):
        each = start + tl.arange(0, BLOCK_PARTS)
        place = each.to(tl.int64) * HEADS + head
        peak = tl.load(peaks + place, mask=each < end, other=-1.0e30)
        seen = peak > _UNSEEN
        higher = tl.maximum(highest, tl.max(peak, 0))
        faded = tl.exp2(highest - higher)
        weights = tl.where(seen, tl.exp2(peak - higher), 0.0)
        there = seen[:, None] & (dims < DIM)[None, :]
        values = tl.load(parts + place[:, None] * DIM + dims[None, :], mask=there, other=0.0)
        mixed = mixed * faded + tl.sum(values * weights[:, None], 0)
        total = total * faded + tl.sum(weights, 0)
        highest = higher
    tl.store(out + (row * HEADS + head) * DIM + dims, (mixed / total).to(out.dtype.element_ty), mask=dims < DIM)


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
    splits: Splits,
    out: Tensor,
    scoring: AttentionParams,
    launch: dict[str, int] | None = None,
    absmax: tuple[Tensor, Tensor] | None = None,
    norm_rope: NormRope | None = None,
) -> None:
    """Into `out` [rows, heads, head_dim], contiguous, from queries of that shape, to which, and to the keys,
    `norm_rope` is still to be done.

    Row r is the token at `positions[r]` of the sequence whose pages are `tables[slots[r]]`, all int64. Its own `keys`
    and `values` [rows, kv_heads, head_dim] are put at that position of the pages `tables[writes[r]]`, into the store
    [pages, kv_heads, page_size, head_dim]; of one that is quantised `absmax` has the magnitudes, float32 [pages,
    kv_heads, page_size], of keys and of values. `splits` say who reads which pages; `launch` (the kernel's warps and
    stages) is chosen where it is not given.
    """
    rows, heads, dim = queries.shape
    known = constants(queries, key_store, scoring)
    window = EVERYTHING if scoring.window is None else scoring.window
    count = len(splits.items)
    parts = queries.new_empty((count, heads, dim), dtype=torch.float32)
    peaks = queries.new_empty((count, heads), dtype=torch.float32)
    pending, compiled_for = norm_rope_arguments(norm_rope, queries)
    launched = dependent_launch(queries.device)
    _decode_kernel[(count, known["KV_HEADS"])](
        queries, keys, values, key_store, value_store, *(absmax or (key_store, value_store)),
        tables, slots, writes, positions, splits.items, out, parts, peaks, *pending,
        queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
        tables.stride(0), scoring.scale / float(known["LEVELS"]), scoring.softcap or 1.0, window,
        **known, **compiled_for, BLOCK_ROWS=max(_LEAST_ROWS, triton.next_power_of_2(int(known["GROUP"]))),
        **launched, **(launch or launch_for(key_store)),
    )  # fmt: skip
    _merge_kernel[(rows, heads)](
        parts, peaks, splits.offsets, out,
        HEADS=heads, DIM=dim, BLOCK_DIM=known["BLOCK_DIM"], BLOCK_PARTS=_MERGED_AT_ONCE, **launched,
        num_warps=2,
    )  # fmt: skip


def launch_for(key_store: Tensor) -> dict[str, int]:
    """Few warps: a program only waits for memory. What does not fit into the registers of two takes more."""
    return {"num_warps": min(8, max(2, tile_bytes(key_store) // 2**13)), "num_stages": 2}
