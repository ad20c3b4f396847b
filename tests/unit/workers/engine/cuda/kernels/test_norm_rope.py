"""Norm and rotation of queries and keys inside the attention kernels, against the same in float64 before them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache, KVCacheSpec
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.attention import Layout, TritonAttention
from pelton.workers.engine.cuda.kernels.decode import decode_attention
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.kernels.splits import Splits, plan_splits
from pelton.workers.engine.cuda.kernels.write import write_pages
from pelton.workers.engine.cuda.step_input import Rows
from tests.unit.workers.engine._support.kernels import DEVICES, Paged, assert_close
from tests.unit.workers.engine._support.plain_attention import PlainAttention, normed_and_turned

PAGE = 16


@dataclass(frozen=True)
class Case:
    """Sizes of a layer; `size` numbers of a head of `dim` are turned."""

    heads: int
    kv_heads: int
    dim: int
    size: int
    interleaved: bool = False
    normed: bool = False

    def random(self, rows: int, dtype: torch.dtype, device: str) -> tuple[tuple[Tensor, Tensor, Tensor], NormRope]:
        """Queries, keys and values as parts of one product, and what is to be done to the former two."""
        generator = torch.Generator().manual_seed(rows)
        joined = torch.randn(rows, self.heads + 2 * self.kv_heads, self.dim, generator=generator).to(device, dtype)
        queries, keys, values = joined.split_with_sizes([self.heads, self.kv_heads, self.kv_heads], dim=1)
        angles = torch.randn(rows, self.size // 2, generator=generator).repeat(1, 2).to(device)
        weights = 1 + torch.randn(2, self.dim, generator=generator).to(device)
        turn = NormRope(angles.cos().to(dtype), angles.sin().to(dtype), self.interleaved, epsilon=1e-3)
        if self.normed:
            turn = replace(turn, query_weight=weights[0], key_weight=weights[1])
        return (queries, keys, values), turn


CASES = {
    "qwen3": Case(4, 2, 128, 128, normed=True),
    "llama-mqa": Case(3, 1, 64, 64),
    "gemma3": Case(2, 1, 256, 256, normed=True),
    "phi3-partial": Case(2, 2, 96, 72),
    "glm-interleaved": Case(4, 2, 128, 64, interleaved=True),
    "interleaved-normed-80": Case(3, 3, 80, 80, interleaved=True, normed=True),
}


def exact(heads: Tensor, weight: Tensor | None, norm_rope: NormRope) -> Tensor:
    return normed_and_turned(heads.double(), weight, norm_rope)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decode(case: Case, device: str) -> None:
    """What a query gets, and the key that is stored, are those of heads normed and turned before; values stay."""
    lengths = [1, PAGE + 1, 2 * PAGE]
    paged = Paged.random(lengths, PAGE, case.kv_heads, case.dim, torch.float32, device)
    (queries, keys, values), turn = case.random(len(lengths), torch.float32, device)
    at = torch.tensor(lengths, device=device) - 1
    slots = torch.arange(len(lengths), device=device)
    places = paged.tables[slots, at // PAGE], slice(None), at % PAGE
    paged.keys[places] = exact(keys, turn.key_weight, turn).float()
    paged.values[places] = values
    want = [store.clone() for store in (paged.keys, paged.values)]
    for store in (paged.keys, paged.values):
        store[places] = 1e4
    splits = Splits(*(torch.from_numpy(each).to(device) for each in plan_splits(np.array(lengths) - 1, PAGE, 4)))
    out, scoring = torch.full(queries.shape, torch.nan, device=device), AttentionParams(0.1)
    stores = paged.keys, paged.values, paged.tables
    decode_attention(queries, keys, values, *stores, slots, slots, at, splits, out, scoring, norm_rope=turn)
    for store, wanted in zip((paged.keys, paged.values), want, strict=True):
        torch.testing.assert_close(store, wanted, atol=1e-5, rtol=1e-5)
    asked = exact(queries, turn.query_weight, turn)
    for row, length in enumerate(lengths):
        assert_close(out[row], paged.attended(row, asked[row, None], length - 1, scoring)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_write(case: Case, device: str) -> None:
    """Keys in their pages and queries side by side, normed and turned, from a row on; nothing else is written."""
    paged = Paged.random([20, 40], PAGE, case.kv_heads, case.dim, torch.float32, device)
    given, turn = case.random(4, torch.float32, device)
    slots, at = torch.tensor([1, 0, 1, 1], device=device), torch.tensor([17, 3, 32, 15], device=device)
    want = [store.clone() for store in (paged.keys, paged.values)]
    places = paged.tables[slots, at // PAGE][1:], slice(None), (at % PAGE)[1:]
    want[0][places] = exact(given[1], turn.key_weight, turn).float()[1:]
    want[1][places] = given[2][1:]
    out = torch.full(given[0].shape, 1e4, device=device)
    stores = paged.keys, paged.values, paged.tables
    assert write_pages(*given, *stores, slots, at, out, first=1, norm_rope=turn) is out
    for store, wanted in zip((paged.keys, paged.values), want, strict=True):
        torch.testing.assert_close(store, wanted, atol=1e-5, rtol=1e-5)
    assert (out[0] == 1e4).all()
    assert_close(out[1:], exact(given[0], turn.query_weight, turn)[1:])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype: torch.dtype, device: str) -> None:
    """All is computed in float32 and rounded once."""
    if (dtype, device) == (torch.bfloat16, "cpu"):
        pytest.skip("the interpreter multiplies the bits of a bfloat16 as if they were a number")
    given, turn = CASES["qwen3"].random(3, dtype, device)
    store = torch.zeros(2, 2, PAGE, 128, dtype=dtype, device=device)
    zeros, at = torch.zeros(3, dtype=torch.int64, device=device), torch.arange(3, device=device)
    out = torch.empty(given[0].shape, dtype=dtype, device=device)
    write_pages(*given, store, store.clone(), torch.zeros_like(zeros)[None], zeros, at, out, norm_rope=turn)
    for got, heads, weight in (
        (out, given[0], turn.query_weight),
        (store[0, :, :3].transpose(0, 1), given[1], turn.key_weight),
    ):
        want = exact(heads, weight, turn)
        assert (got.double() - want).norm() <= torch.finfo(dtype).eps / 2 * want.norm()


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_of_single_rows_and_chunks(device: str) -> None:
    """All kernels of a layer together, as plain attention has it: decodes, then a chunk with text before it."""
    case, count = CASES["glm-interleaved"], 5
    answers = []
    for attention, where in ((TritonAttention, device), (PlainAttention, "cpu")):
        paged = Paged.random([PAGE + 3, 7, 20], PAGE, case.kv_heads, case.dim, torch.float32, where)
        given, turn = case.random(2 + count, torch.float32, where)
        slots = torch.tensor([0, 1] + [2] * count, device=where)
        at = torch.tensor([PAGE + 2, 6, *range(15, 15 + count)], device=where)
        splits = Splits(*(torch.from_numpy(each).to(where) for each in plan_splits(np.array([PAGE + 2, 6]), PAGE, 3)))
        blocks = torch.tensor([[2, 2, 15, count], [0, 0, 0, 0]], device=where)
        shape = KVCacheSpec(1, case.kv_heads, case.dim)
        store = KVCache(shape, len(paged.keys) - 1, PAGE, dtype=torch.float32, device=torch.device(where))
        store.keys[0].copy_(paged.keys)
        store.values[0].copy_(paged.values)
        layout = Layout(Rows(slots, slots, slots, at), 2, splits, blocks)
        out = attention(layout, paged.tables, store).attend(0, *given, AttentionParams(0.1), turn)
        answers.append([each.cpu() for each in (out, store.keys[0], store.values[0])])
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)
