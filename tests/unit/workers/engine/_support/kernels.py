"""Where kernels are tried, and what they are compared with: plain attention in float64."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams

ON_GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")],
)
INTERPRETED = pytest.param(
    "cpu",
    marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the same kernels run compiled on this machine's GPU"),
)
DEVICES = [INTERPRETED, ON_GPU]
"""Kernels run compiled on a GPU, and in Triton's interpreter where there is none (conftest.py)."""

TOLERANCE = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class Paged:
    """Sequences of random keys and values in pages that lie in disorder; what no sequence wrote is huge.

    Slot s of `tables` has the pages of sequence s, of `lengths[s]` tokens; entries past its end point at no page.
    """

    keys: Tensor
    values: Tensor
    tables: Tensor
    lengths: list[int]

    @classmethod
    def random(  # noqa: PLR0913, PLR0917 (a test's cases)
        cls, lengths: list[int], page: int, kv_heads: int, dim: int, dtype: torch.dtype, device: str
    ) -> "Paged":
        generator = torch.Generator().manual_seed(sum(lengths))
        each = [-(-length // page) for length in lengths]
        order = torch.randperm(sum(each) + 1, generator=generator).tolist()
        tables = torch.full((len(lengths), max(each) + 1), 2**40)
        keys, values = (torch.full((sum(each) + 1, kv_heads, page, dim), 1e4) for _ in range(2))
        for slot, (length, count) in enumerate(zip(lengths, each, strict=True)):
            mine = [order.pop() for _ in range(count)]
            tables[slot, :count] = torch.tensor(mine)
            for position in range(length):
                place = mine[position // page], slice(None), position % page
                keys[place] = torch.randn(kv_heads, dim, generator=generator)
                values[place] = torch.randn(kv_heads, dim, generator=generator)
        return cls(keys.to(device, dtype), values.to(device, dtype), tables.to(device), lengths)

    def of(self, slot: int, store: Tensor, end: int) -> Tensor:
        """A sequence's first `end` keys or values in float64, [kv_heads, end, dim]."""
        page = store.shape[2]
        mine = store[self.tables[slot, : -(-end // page)]].transpose(1, 2).reshape(-1, *store.shape[1::2])
        return mine[:end].transpose(0, 1).double()

    def attended(self, slot: int, queries: Tensor, start: int, scoring: AttentionParams) -> Tensor:
        """What queries [count, heads, dim] at the positions from `start` on must get, in float64."""
        count, heads, _ = queries.shape
        end = start + count
        keys, values = (
            self.of(slot, store, end).repeat_interleave(heads // store.shape[1], dim=0)
            for store in (self.keys, self.values)
        )
        scores = torch.einsum("qhd,hkd->hqk", queries.double(), keys) * scoring.scale
        if scoring.softcap is not None:
            scores = torch.tanh(scores / scoring.softcap) * scoring.softcap
        at = torch.arange(end, device=queries.device)
        query = at[start:, None]
        visible = at <= query
        if scoring.window is not None:
            visible &= at > query - scoring.window
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        return torch.einsum("hqk,hkd->qhd", weights, values)


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Within what the data type can hold, relative to the whole."""
    assert got.isfinite().all()
    assert (got.double() - expected).norm() <= TOLERANCE[got.dtype] * expected.norm()
