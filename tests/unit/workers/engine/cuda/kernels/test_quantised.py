"""The attention kernels over pages of one byte a number, against float64 on the numbers as they are stored."""

from typing import Any

import numpy as np
import pytest
import torch

from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.attention.quantised_kv import QuantisedKVCache
from pelton.workers.engine.cuda.kernels.decode import decode_attention
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.kernels.prefill import cut_blocks, prefill_attention
from pelton.workers.engine.cuda.kernels.splits import Splits, plan_splits
from pelton.workers.engine.cuda.kernels.write import write_pages
from tests.unit.workers.engine._support.kernels import DEVICES, Paged, assert_close
from tests.unit.workers.engine._support.plain_attention import normed_and_turned
from tests.unit.workers.engine._support.quantised import KINDS, quantised

PAGE = 16
SCORINGS = {"plain": AttentionParams(0.1), "window-capped": AttentionParams(0.3, window=21, softcap=2.0)}
SHAPES = {"64": (4, 2, 64), "80-no-groups": (2, 2, 80)}


@pytest.fixture(autouse=True)
def exact_fp8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter drops a carry when it rounds to fp8 (127 becomes 64); here PyTorch rounds for it."""
    if torch.cuda.is_available():
        return
    from triton import language as tl  # noqa: PLC0415 (interpreted here only)
    from triton.runtime import interpreter  # noqa: PLC0415 (likewise)

    convert: Any = interpreter._convert_float

    def rounded(numbers: Any, source: Any, target: Any, mode: Any) -> Any:
        if target != tl.float8e4nv or source != tl.float32:
            return convert(numbers, source, target, mode)
        return torch.from_numpy(numbers.copy()).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", rounded)


def queries_of(rows: int, heads: int, dim: int, device: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(heads, rows, dim, generator=generator).to(device, dtype).transpose(0, 1)


def assert_stored(store: QuantisedKVCache, wanted: tuple[torch.Tensor, ...]) -> None:
    """Levels and magnitudes, but for a level where a number lies between two."""
    for got, want in zip((store.keys[0], store.values[0]), wanted[:2], strict=True):
        near = got[:-1].float() - want[:-1].float()
        assert (near.abs() <= 1 + want[:-1].float().abs() / 8).all()
        assert (near != 0).float().mean() < 0.01
    for got, want in zip(store.absmax(0), wanted[2:], strict=True):
        torch.testing.assert_close(got[:-1], want[:-1])


def contents(store: QuantisedKVCache) -> tuple[torch.Tensor, ...]:
    return tuple(each.clone() for each in (store.keys[0], store.values[0], *store.absmax(0)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_decode(kind: torch.dtype, shape: tuple[int, int, int], scoring: AttentionParams, device: str) -> None:
    """Each query gets the mix of what is stored, its own token included, which the kernel quantises and stores."""
    heads, kv_heads, dim = shape
    lengths = [1, PAGE + 1, 4 * PAGE - 1]
    exact = Paged.random(lengths, PAGE, kv_heads, dim, torch.float32, device)
    paged, store = quantised(exact, kind)
    wanted = contents(store)
    positions = np.array(lengths) - 1
    pages = [int(exact.tables[slot, at // PAGE]) for slot, at in enumerate(positions)]
    places = pages, slice(None), (positions % PAGE).tolist()
    keys, values = exact.keys[places], exact.values[places]
    for each in store.absmax(0):
        each[places] = 1e4
    slots, at = (torch.tensor(each, device=device) for each in ([0, 1, 2], positions))
    splits = Splits(*(torch.from_numpy(each).to(device) for each in plan_splits(positions, PAGE, 6)))
    queries = queries_of(3, heads, dim, device)
    out = torch.full(queries.shape, torch.nan, device=device)
    decode_attention(
        queries, keys, values, store.keys[0], store.values[0], exact.tables, slots, slots, at, splits, out, scoring,
        absmax=store.absmax(0),
    )  # fmt: skip
    assert_stored(store, wanted)
    for row, position in enumerate(positions):
        assert_close(out[row], paged.attended(row, queries[row, None], int(position), scoring)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_prefill(kind: torch.dtype, scoring: AttentionParams, device: str) -> None:
    """Chunks with text before them and without."""
    paged, store = quantised(Paged.random([PAGE + 5, 3 * PAGE], PAGE, 2, 64, torch.float32, device), kind)
    chunks = [[0, 0, 0, PAGE + 5], [1, PAGE + 5, 2 * PAGE - 3, PAGE + 3]]
    queries = queries_of(2 * PAGE + 8, 4, 64, device)
    out = torch.full(queries.shape, torch.nan, device=device)
    blocks = torch.from_numpy(cut_blocks(np.array(chunks), 16)).to(device)
    where = store.keys[0], store.values[0], paged.tables, blocks
    prefill_attention(queries, *where, out, scoring, absmax=store.absmax(0))
    for slot, row, start, count in chunks:
        rows = slice(row, row + count)
        assert_close(out[rows], paged.attended(slot, queries[rows], start, scoring))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_half_precision(kind: torch.dtype, device: str) -> None:
    """Values are multiplied as levels, so that a float16 loses nothing of small ones."""
    exact = Paged.random([70], PAGE, 2, 64, torch.float32, device)
    for each in (exact.keys, exact.values):
        each[exact.tables[0, :5]] *= 1e-2
    paged, store = quantised(exact, kind)
    queries = queries_of(66, 4, 64, device, torch.float16)
    out = torch.empty(queries.shape, dtype=torch.float16, device=device)
    blocks = torch.from_numpy(cut_blocks(np.array([[0, 0, 4, 66]]), 64)).to(device)
    where = store.keys[0], store.values[0], paged.tables, blocks
    prefill_attention(queries, *where, out, AttentionParams(9.0), absmax=store.absmax(0))
    assert_close(out, paged.attended(0, queries, 4, AttentionParams(9.0)))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_write(kind: torch.dtype, device: str) -> None:
    """As PyTorch quantises, in the same places; a number that is none leaves a mark."""
    exact = Paged.random([20, 40], PAGE, 3, 80, torch.float32, device)
    _, store = quantised(exact, kind)
    _, other = quantised(exact, kind)
    keys = queries_of(4, 3, 80, device)
    keys[2] *= 100
    values = keys * 3
    slots, at = torch.tensor([1, 0, 1, 1], device=device), torch.tensor([17, 3, 32, 15], device=device)
    pages = exact.tables[slots, at // PAGE]
    other.write(0, keys[1:], values[1:], other.places(pages[1:], at[1:] % PAGE))
    stores = store.keys[0], store.values[0], exact.tables
    write_pages(keys, keys, values, *stores, slots, at, keys, first=1, absmax=store.absmax(0))
    assert_stored(store, contents(other))
    keys[3, 1, 7] = torch.inf
    write_pages(keys, keys, values, *stores, slots, at, keys, first=3, absmax=store.absmax(0))
    assert store.absmax(0)[0][pages[3], 1, at[3] % PAGE].isnan()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_keys_that_are_normed_and_turned_first(kind: torch.dtype, device: str) -> None:
    """Stored by either kernel as the keys that come out of that are, and read as such."""
    rows, dim = 3, 64
    queries, keys, values = (queries_of(rows + index, 2, dim, device)[:rows] for index in range(3))
    angles = torch.randn(rows, dim // 2, generator=torch.Generator().manual_seed(1)).repeat(1, 2).to(device)
    weight = torch.linspace(0.5, 2, dim, device=device)
    turn = NormRope(angles.cos(), angles.sin(), False, weight, weight + 1, 1e-6)
    before = normed_and_turned(queries, weight, turn), normed_and_turned(keys, weight + 1, turn)
    tables, at = torch.tensor([[1, 0], [2, 4], [3, 5]], device=device), torch.tensor([17, 3, 30], device=device)
    slots = torch.arange(rows, device=device)
    splits = Splits(*(torch.from_numpy(each).to(device) for each in plan_splits(at.cpu().numpy(), PAGE, 5)))
    shape = KVCacheSpec(1, 2, dim, kind)
    decoded, written = [], []
    for heads, pending in ((before, None), ((queries, keys), turn)):
        store = QuantisedKVCache(shape, 6, PAGE, dtype=torch.float32, device=torch.device(device))
        where = store.keys[0], store.values[0], tables, slots
        out = torch.empty(rows, 2, dim, device=device)
        options: dict[str, Any] = {"absmax": store.absmax(0), "norm_rope": pending}
        decode_attention(*heads, values, *where, slots, at, splits, out, AttentionParams(0.1), **options)
        decoded.append((store, out))
        store = QuantisedKVCache(shape, 6, PAGE, dtype=torch.float32, device=torch.device(device))
        where = store.keys[0], store.values[0], tables, slots
        written.append((store, write_pages(*heads, values, *where, at, torch.empty_like(out), **options)))
    for (_, wanted), (_, got) in (decoded, written):
        torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
    for (wanted_store, _), (store, _) in (decoded, written):
        assert_stored(store, contents(wanted_store))
