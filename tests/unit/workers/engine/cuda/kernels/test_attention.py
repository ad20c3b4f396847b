"""The attention kernels against attention in float64: every head size, window, cap and length that can go wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels import scores
from pelton.workers.engine.cuda.kernels.decode import decode_attention
from pelton.workers.engine.cuda.kernels.prefill import cut_blocks, prefill_attention
from pelton.workers.engine.cuda.kernels.splits import Splits, most_splits, plan_splits
from pelton.workers.engine.cuda.kernels.write import write_pages
from tests.unit.workers.engine._support.kernels import DEVICES, Paged, assert_close

PAGE = 16
SHAPES = {
    "64": (4, 2, 64), "80-no-groups": (2, 2, 80), "96": (3, 1, 96), "128-groups-of-7": (7, 1, 128), "256": (4, 2, 256),
}  # fmt: skip
SCORINGS = {
    "plain": AttentionParams(0.1),
    "capped": AttentionParams(0.3, softcap=2.0), "window": AttentionParams(0.1, window=21),
    "window-of-a-page-capped": AttentionParams(0.3, window=PAGE, softcap=2.0),
    "window-of-1": AttentionParams(0.1, window=1),
}  # fmt: skip
MAX_SPLITS = dict(zip(SCORINGS, (4, 9, 6, 4, 9), strict=True))
LENGTHS = [1, PAGE, PAGE + 1, 4 * PAGE - 1]


def queries_of(rows: int, heads: int, dim: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """As a model gives them: heads outside of rows in memory."""
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(heads, rows, dim, generator=generator).to(device, dtype).transpose(0, 1)


def decode(paged: Paged, queries: torch.Tensor, slots: list[int], scoring: AttentionParams, most: int) -> torch.Tensor:
    """The newest keys and values are taken out of their pages first: the kernel has to put them back."""
    out = torch.full(queries.shape, torch.nan, dtype=queries.dtype, device=queries.device)
    positions = [paged.lengths[slot] - 1 for slot in slots]
    size = paged.keys.shape[2]
    pages = [int(paged.tables[slot, position // size]) for slot, position in zip(slots, positions, strict=True)]
    places = pages, slice(None), [position % size for position in positions]
    keys, values = (store[places].clone() for store in (paged.keys, paged.values))
    before = [store.clone() for store in (paged.keys, paged.values)]
    for store in (paged.keys, paged.values):
        store[places] = 1e4
    chosen, at = (torch.tensor(each, device=queries.device) for each in (slots, positions))
    stores = paged.keys, paged.values, paged.tables
    items, offsets = plan_splits(np.array(positions), size, most)
    items = np.concatenate((items, np.zeros((1, 4), dtype=np.int64)))  # padding, as a graph has it
    splits = Splits(*(torch.from_numpy(each).to(queries.device) for each in (items, offsets)))
    decode_attention(queries, keys, values, *stores, chosen, chosen, at, splits, out, scoring)
    assert torch.equal(paged.keys, before[0])
    assert torch.equal(paged.values, before[1])
    return out


def prefill(
    paged: Paged, queries: torch.Tensor, chunks: list[list[int]], scoring: AttentionParams, tokens: int
) -> torch.Tensor:
    out = torch.full(queries.shape, torch.nan, dtype=queries.dtype, device=queries.device)
    cut = np.concatenate((cut_blocks(np.array(chunks), tokens), np.zeros((1, 4), dtype=np.int64)))  # as above
    blocks = torch.from_numpy(cut).to(queries.device)
    prefill_attention(queries, paged.keys, paged.values, paged.tables, blocks, out, scoring)
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_decode(shape: tuple[int, int, int], scoring: str, device: str) -> None:
    """Each query gets its own sequence's mix, in any order of slots, however its pages are split."""
    heads, kv_heads, dim = shape
    paged = Paged.random(LENGTHS, PAGE, kv_heads, dim, torch.float32, device)
    slots = [3, 0, 1, 2]
    queries = queries_of(len(slots), heads, dim, torch.float32, device)
    got = decode(paged, queries, slots, SCORINGS[scoring], MAX_SPLITS[scoring])
    for row, slot in enumerate(slots):
        assert_close(got[row], paged.attended(slot, queries[row, None], paged.lengths[slot] - 1, SCORINGS[scoring])[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_prefill(shape: tuple[int, int, int], scoring: AttentionParams, device: str) -> None:
    """Chunks of several sequences in one pass, some with text before them in the pages; other rows are not touched."""
    heads, kv_heads, dim = shape
    paged = Paged.random([PAGE + 5, 3 * PAGE, 2 * PAGE + 1], PAGE, kv_heads, dim, torch.float32, device)
    chunks = [[0, 2, 0, PAGE + 5], [1, 2 + PAGE + 5, 2 * PAGE - 3, PAGE + 3], [2, 26 + PAGE, 2 * PAGE, 1]]
    queries = queries_of(27 + PAGE, heads, dim, torch.float32, device)
    got = prefill(paged, queries, chunks, scoring, tokens=max(1, 32 // (1 << (heads // kv_heads - 1).bit_length())))
    assert got[:2].isnan().all()
    for slot, row, start, count in chunks:
        rows = slice(row, row + count)
        assert_close(got[rows], paged.attended(slot, queries[rows], start, scoring))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype: torch.dtype, device: str) -> None:
    """Sums are kept in float32: the answer is as exact as its data type."""
    if (dtype, device) == (torch.bfloat16, "cpu"):
        pytest.skip("the interpreter multiplies the bits of a bfloat16 as if they were a number")
    paged = Paged.random([70], PAGE, 2, 64, dtype, device)
    queries = queries_of(66, 4, 64, dtype, device)
    scoring = AttentionParams(0.125)
    assert_close(decode(paged, queries[-1:], [0], scoring, 2)[0], paged.attended(0, queries[-1:], 69, scoring)[0])
    assert_close(prefill(paged, queries, [[0, 0, 4, 66]], scoring, 64), paged.attended(0, queries, 4, scoring))


@pytest.mark.parametrize("device", DEVICES)
def test_the_size_of_a_page_in_use(device: str) -> None:
    """Pages of 64 tokens, as they are on a GPU, one of them full, one just begun."""
    paged = Paged.random([129, 64], 64, 2, 128, torch.float32, device)
    queries = queries_of(2, 4, 128, torch.float32, device)
    got = decode(paged, queries, [0, 1], AttentionParams(0.1), 2)
    for row in (0, 1):
        assert_close(got[row], paged.attended(row, queries[row, None], paged.lengths[row] - 1, AttentionParams(0.1))[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kv_heads", [1, 3])
def test_write(kv_heads: int, device: str) -> None:
    """Keys and values lie at their own position of their own sequence, from a row on, and nothing else changes."""
    paged = Paged.random([20, 40], PAGE, kv_heads, 80, torch.float32, device)
    keys = queries_of(4, kv_heads, 80, torch.float32, device)
    values = keys + 1
    slots, positions = [1, 0, 1, 1], [17, 3, 32, 15]
    expected = [store.clone() for store in (paged.keys, paged.values)]
    for row, (slot, position) in list(enumerate(zip(slots, positions, strict=True)))[1:]:
        page = int(paged.tables[slot, position // PAGE])
        for store, fresh in zip(expected, (keys, values), strict=True):
            store[page, :, position % PAGE] = fresh[row]
    at_slots, at = (torch.tensor(each, device=device) for each in (slots, positions))
    stores = paged.keys, paged.values, paged.tables
    assert write_pages(keys, keys, values, *stores, at_slots, at, torch.empty_like(keys), first=1) is keys
    assert torch.equal(paged.keys, expected[0])
    assert torch.equal(paged.values, expected[1])


@given(
    chunks=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(1, 50)), min_size=1
    ),
    tokens=st.integers(1, 20),
)
@settings(deadline=None)
def test_blocks_cover_their_chunks(chunks: list[tuple[int, ...]], tokens: int) -> None:
    """Every token of every chunk is in exactly one block, beside its row and position, and no block is too long."""
    want = [(slot, row + i, start + i) for slot, row, start, count in chunks for i in range(count)]
    blocks = cut_blocks(np.array(chunks), tokens)
    got = [(slot, row + i, start + i) for slot, row, start, count in blocks.tolist() for i in range(count)]
    assert got == want
    assert blocks[:, 3].max() <= tokens


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=40), page=st.sampled_from([16, 64]),
    more=st.integers(0, 200),
)  # fmt: skip
@settings(deadline=None)
def test_splits_cover_every_page_once(lengths: list[int], page: int, more: int) -> None:
    """In no more items than allowed, none much longer than it need be, those of a row to be merged side by side."""
    positions = np.array(lengths) - 1
    most = len(lengths) + more
    items, offsets = plan_splits(positions, page, most)
    assert len(items) <= most
    seen: dict[int, list[tuple[int, int, int]]] = {}
    for row, begin, end, part in items.tolist():
        seen.setdefault(row, []).append((begin, end, part))
    for row, position in enumerate(positions.tolist()):
        mine = sorted(seen[row])
        assert [page for begin, end, _ in mine for page in range(begin, end)] == list(range(position // page + 1))
        parts = [part for *_, part in mine]
        assert parts == ([-1] if len(mine) == 1 else list(range(offsets[row], offsets[row + 1])))
        assert len(mine) > 1 or offsets[row] == offsets[row + 1]
    longest = int((items[:, 2] - items[:, 1]).max())
    pages = positions // page + 1
    assert longest == 1 or int((-(-pages // (longest - 1))).sum()) > most


def test_a_long_text_among_short_ones_gets_most_of_the_programs() -> None:
    """It is read by many programs side by side, in about as many pages for each as the short ones have in all."""
    positions = np.array([32_767] + [500] * 255)
    items, _ = plan_splits(positions, 64, most_splits(256, 8))
    assert int((items[:, 2] - items[:, 1]).max()) <= 8
    alone, _ = plan_splits(positions[:1], 64, most_splits(1, 8))
    assert len(alone) == 32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", [AttentionParams(0.1), AttentionParams(0.1, window=21)], ids=["plain", "window"])
def test_pages_are_read_in_parts_where_shared_memory_is_small(
    scoring: AttentionParams, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards with 99 KiB read wide heads of a page of 64 tokens in tiles; the answer is the same."""
    monkeypatch.setattr(scores, "is_roomy", lambda _: False)
    paged = Paged.random([129, 40], 64, 1, 256, torch.float32, device)
    queries = queries_of(2, 2, 256, torch.float32, device)
    assert scores.tile_tokens(paged.keys) == 16
    got = decode(paged, queries, [0, 1], scoring, 3)
    for row in (0, 1):
        assert_close(got[row], paged.attended(row, queries[row, None], paged.lengths[row] - 1, scoring)[0])
    chunks = queries_of(30, 2, 256, torch.float32, device)
    assert_close(prefill(paged, chunks, [[0, 0, 99, 30]], scoring, 8), paged.attended(0, chunks, 99, scoring))
