"""Decode rows over pages against attention in float64: by products, of shared pages too, and by the kernels."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch

from pelton.workers.engine.attention.decode import PageAttention
from pelton.workers.engine.attention.kv_cache import KVCache, KVCacheSpec
from pelton.workers.engine.attention.native_decode import NativeAttention, native_attention
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.params import AttentionParams
from tests.unit.workers.engine._support.kernels import Paged, assert_close
from tests.unit.workers.engine._support.native import NEEDS_KERNELS, the_kernels, without_kernels

Way = Callable[[PackedBatch, KVCache], PageAttention | NativeAttention]

PAGE = 16


def by_kernel(batch: PackedBatch, store: KVCache, *, sharing: bool) -> NativeAttention:
    return NativeAttention(batch, store, the_kernels(), sharing=sharing)


WAYS = [
    pytest.param(PageAttention, id="sharing"),
    pytest.param(partial(PageAttention, sharing=False), id="alone"),
    pytest.param(partial(by_kernel, sharing=True), id="kernel-sharing", marks=NEEDS_KERNELS),
    pytest.param(partial(by_kernel, sharing=False), id="kernel-alone", marks=NEEDS_KERNELS),
]
LENGTHS = [1, PAGE, PAGE + 1, *range(2 * PAGE + 3, 6 * PAGE, 7)]
SHAPES = {"no-groups": (3, 3, 64), "groups-of-4": (8, 2, 32), "groups-of-5": (10, 2, 48)}
SCORINGS = {
    "plain": AttentionParams(0.1),
    "capped": AttentionParams(0.3, softcap=2.0), "window": AttentionParams(0.1, window=21),
    "window-of-a-page-capped": AttentionParams(0.3, window=PAGE, softcap=2.0),
    "window-of-1": AttentionParams(0.1, window=1),
}  # fmt: skip
PREFIXES = {"nobody": {}, "most-together": dict.fromkeys(range(4, len(LENGTHS)), 3),
            "two-by-two": {slot: slot - 1 for slot in range(4, len(LENGTHS), 2)}}  # fmt: skip
"""Which slot's first two pages a slot has in place of its own."""


def store_of(paged: Paged) -> KVCache:
    pages, kv_heads, _, dim = paged.keys.shape
    dtype = paged.keys.dtype
    store = KVCache(KVCacheSpec(1, kv_heads, dim), pages, PAGE, dtype=dtype, device=torch.device("cpu"))
    store.keys[0][:pages].copy_(paged.keys)
    store.values[0][:pages].copy_(paged.values)
    return store


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prefixes", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_get_what_they_would_alone(
    shape: tuple[int, int, int], scoring: AttentionParams, prefixes: dict[int, int], dtype: torch.dtype, way: Way
) -> None:
    """Each row's values are mixed as by attention over its own text alone, up to the data type; new ones are stored."""
    heads, kv_heads, dim = shape
    paged = Paged.random(LENGTHS, PAGE, kv_heads, dim, dtype, "cpu")
    for slot, other in prefixes.items():
        paged.tables[slot, :2] = paged.tables[other, :2]
    spans = [
        RowSpan(slot, length - 1, 1, paged.tables[slot, : -(-length // PAGE)].numpy())
        for slot, length in enumerate(LENGTHS)
    ]
    check(paged, spans, range(len(LENGTHS)), heads, scoring, way)


@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("drafts", [lambda _: 3, lambda slot: slot % 4], ids=["same", "unequal"])
def test_drafts_of_a_text(scoring: AttentionParams, drafts: Callable[[int], int], way: Way) -> None:
    """Rows at consecutive positions of one text each get what they would alone, also beside texts that have one row."""
    heads, kv_heads, dim = SHAPES["groups-of-4"]
    paged = Paged.random(LENGTHS, PAGE, kv_heads, dim, torch.float32, "cpu")
    for slot in range(4, len(LENGTHS)):
        paged.tables[slot, :2] = paged.tables[3, :2]
    slots = [slot for slot, length in enumerate(LENGTHS) for _ in range(min(1 + drafts(slot), length))]
    spans = [
        RowSpan(
            row, LENGTHS[slot] - slots[row:].count(slot), 1, paged.tables[slot, : -(-LENGTHS[slot] // PAGE)].numpy()
        )
        for row, slot in enumerate(slots)
    ]
    check(paged, spans, slots, heads, scoring, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scoring", [AttentionParams(0.1), AttentionParams(0.1, window=300)], ids=["plain", "window"])
@pytest.mark.parametrize("shape", [(3, 1, 128), (32, 2, 16), (4, 4, 256)], ids=str)
def test_long_texts(shape: tuple[int, int, int], scoring: AttentionParams, dtype: torch.dtype, way: Way) -> None:
    """Of several parts, of exactly one, of one and a token, beside a short one."""
    heads, kv_heads, dim = shape
    lengths = [900, 256, 257, 3]
    paged = Paged.random(lengths, PAGE, kv_heads, dim, dtype, "cpu")
    spans = [
        RowSpan(slot, length - 1, 1, paged.tables[slot, : -(-length // PAGE)].numpy())
        for slot, length in enumerate(lengths)
    ]
    check(paged, spans, range(len(lengths)), heads, scoring, way)


@NEEDS_KERNELS
def test_what_the_kernels_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for heads of any size, and not without a compiler."""
    for dim in (32, 24):
        store = store_of(Paged.random([PAGE], PAGE, 2, dim, torch.float32, "cpu"))
        batch = packed([RowSpan(0, PAGE - 1, 1, np.array([0]))], store)
        assert (native_attention(batch, store, sharing=True) is None) is (dim == 24)
    store = store_of(Paged.random([PAGE], PAGE, 2, 32, torch.float32, "cpu"))
    without_kernels(monkeypatch)
    assert native_attention(batch, store, sharing=True) is None


def packed(spans: list[RowSpan], store: KVCache) -> PackedBatch:
    return PackedBatch.pack(np.zeros(len(spans), dtype=np.int64), spans, np.arange(len(spans)), store)


def check(  # noqa: PLR0913, PLR0917 (a test's cases)
    paged: Paged, spans: list[RowSpan], slots: Sequence[int], heads: int, scoring: AttentionParams, way: Way
) -> None:
    """Attention of `spans` of one row, of the texts `slots`, against that of each text alone."""
    store = store_of(paged)
    batch = packed(spans, store)
    keys, values = (each[batch.write_pages, :, batch.write_slots] for each in (store.keys[0], store.values[0]))
    for each in (store.keys[0], store.values[0]):
        each[batch.write_pages, :, batch.write_slots] = 1e4
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(len(spans), heads, paged.keys.shape[3], generator=generator).to(paged.keys.dtype)

    out = way(batch, store).attend(0, queries, keys, values, scoring)

    assert torch.equal(store.keys[0][:-1], paged.keys)
    assert torch.equal(store.values[0][:-1], paged.values)
    for row, (slot, span) in enumerate(zip(slots, spans, strict=True)):
        assert_close(out[row], paged.attended(slot, queries[row, None], span.start, scoring)[0])
