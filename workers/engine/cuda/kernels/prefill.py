"""Triton: attention of prompt chunks over pages, packed: no row is padded to another's length.

A chunk's own keys and values are in the pages by then, so that a chunk and the text before it are read alike. One
program for each block of consecutive tokens and each KV head; the query heads of the KV head are rows of its products.
"""

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.launching import dependent_launch, follow
from pelton.workers.engine.cuda.kernels.quantise import magnitudes_at
from pelton.workers.engine.cuda.kernels.scores import (
    EVERYTHING,
    absorb,
    constants,
    is_roomy,
    page_scores,
    tile_bytes,
)

_WIDE_HEAD = 128
_DOUBLE_BUFFERED = 5


@triton.jit
def _prefill_kernel(
    query, key_store, value_store, key_absmax, value_absmax, tables, blocks, out,
    query_row, query_head, table_width, scale, softcap, window,
    PAGE: tl.constexpr, TILE: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr, BLOCK_GROUP: tl.constexpr, BLOCK_DIM: tl.constexpr,
    CAPPED: tl.constexpr, LEVELS: tl.constexpr, PRECISION: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    kv_head = tl.program_id(1)
    block = blocks + tl.program_id(0) * 4
    slot = tl.load(block)
    row = tl.load(block + 1)
    start = tl.load(block + 2).to(tl.int32)
    count = tl.load(block + 3).to(tl.int32)
    if count == 0:  # a captured step's that has fewer chunks
        return
    members = tl.arange(0, BLOCK_TOKENS * BLOCK_GROUP)
    tokens = members // BLOCK_GROUP
    heads = kv_head * GROUP + members % BLOCK_GROUP
    dims = tl.arange(0, BLOCK_DIM)
    mine = ((tokens < count) & (members % BLOCK_GROUP < GROUP))[:, None] & (dims < DIM)[None, :]
    places = query + (row + tokens)[:, None] * query_row + heads[:, None] * query_head + dims[None, :]
    queries = tl.load(places, mask=mine, other=0.0)
    positions = start + tokens
    end = start + count
    scale = scale / LEVELS
    tiles: tl.constexpr = PAGE // TILE
    inside = tl.arange(0, TILE)
    within = inside[:, None] * DIM + dims[None, :]
    table = tables + slot * table_width
    peak = tl.full((BLOCK_TOKENS * BLOCK_GROUP,), -1.0e30, tl.float32)
    total = tl.zeros((BLOCK_TOKENS * BLOCK_GROUP,), tl.float32)
    mixed = tl.zeros((BLOCK_TOKENS * BLOCK_GROUP, BLOCK_DIM), tl.float32)
    for index in range(tl.maximum(start + 1 - window, 0) // TILE, (end - 1) // TILE + 1):
        tile = (tl.load(table + index // tiles) * KV_HEADS + kv_head) * PAGE + index % tiles * TILE
        at = index * TILE + inside
        there = (at < end)[:, None] & (dims < DIM)[None, :]
        keys = tl.load(key_store + tile * DIM + within, mask=there, other=0.0).to(queries.dtype)
        scales = scale * magnitudes_at(key_absmax, tile + inside, at < end, LEVELS)
        visible = (at[None, :] <= positions[:, None]) & (at[None, :] > positions[:, None] - window)
        scores = page_scores(queries, keys, visible, scales, softcap, CAPPED, PRECISION)
        values = tl.load(value_store + tile * DIM + within, mask=there, other=0.0).to(queries.dtype)
        magnitudes = magnitudes_at(value_absmax, tile + inside, at < end, LEVELS)
        peak, total, mixed = absorb(scores, values, magnitudes, peak, total, mixed, PRECISION)
    mixed = mixed / (total * LEVELS)[:, None]
    places = out + ((row + tokens) * KV_HEADS * GROUP + heads)[:, None] * DIM + dims[None, :]
    tl.store(places, mixed.to(out.dtype.element_ty), mask=mine)


def block_tokens(group: int, dim: int, itemsize: int) -> int:
    """How many tokens a program takes, for `group` query heads per KV head of `dim` numbers of `itemsize` bytes."""
    rows = (128 if dim <= _WIDE_HEAD else 64) if itemsize <= 2 else 32  # noqa: PLR2004 (bytes of a bfloat16)
    return max(1, rows // triton.next_power_of_2(group))


def cut_blocks(chunks: NDArray[np.int64], tokens: int) -> NDArray[np.int64]:
    """Blocks of at most `tokens` out of chunks, both [n, 4]: slot, first row, first position and number of tokens."""
    pieces = -(-chunks[:, 3] // tokens)
    blocks = np.repeat(chunks, pieces, axis=0)
    done = (np.arange(len(blocks)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * tokens
    blocks[:, 1] += done
    blocks[:, 2] += done
    blocks[:, 3] = np.minimum(blocks[:, 3] - done, tokens)
    return blocks


def prefill_attention(
    queries: Tensor,
    key_store: Tensor,
    value_store: Tensor,
    tables: Tensor,
    blocks: Tensor,
    out: Tensor,
    scoring: AttentionParams,
    launch: dict[str, int] | None = None,
    absmax: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Into the rows of `out` [rows, heads, head_dim], contiguous, that `blocks` int64 [n, 4] name (`cut_blocks`).

    The queries may lie in `out` themselves: a program reads those first whose places it fills.
    A token sees what comes before it in its sequence, whose pages are `tables[slot]`, within the window. `absmax` are
    the magnitudes of a quantised store (`decode_attention`).
    """
    known = constants(queries, key_store, scoring)
    _, _, dim = queries.shape
    group = int(known["GROUP"])
    _prefill_kernel[(len(blocks), known["KV_HEADS"])](
        queries, key_store, value_store, *(absmax or (key_store, value_store)), tables, blocks, out,
        queries.stride(0), queries.stride(1), tables.stride(0), scoring.scale, scoring.softcap or 1.0,
        EVERYTHING if scoring.window is None else scoring.window,
        **known, BLOCK_TOKENS=block_tokens(group, dim, queries.element_size()),
        BLOCK_GROUP=triton.next_power_of_2(group), **dependent_launch(queries.device),
        **(launch or launch_for(key_store)),
    )  # fmt: skip


def launch_for(key_store: Tensor) -> dict[str, int]:
    """Warps and stages: as many as keep a block's sums in registers, and tiles in shared memory.

    Only from five stages on does Triton load the next keys and values while it multiplies with these.
    """
    size = tile_bytes(key_store)
    stages = _DOUBLE_BUFFERED if is_roomy(key_store.device) and size <= 2**14 else 2
    return {"num_warps": 4 if size <= 2**13 else 8, "num_stages": stages}
