"""The drawing kernels against the sampler: the same token for the same seed and position."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.cuda.kernels.draw import draw
from pelton.workers.engine.cuda.kernels.draw_cut import draw_cut
from pelton.workers.engine.sampling.sampling import SamplingTensors, sample
from tests.unit.workers.engine._support.kernels import DEVICES

CPU = torch.device("cpu")
SEEDS = [0, -1, 2**63 - 1, 2**64 - 1, 12_345]


def drawn(logits: Tensor, rows: Tensor, params: SamplingTensors, positions: Tensor, device: str) -> list[int]:
    arguments = logits, rows, params.temperature, params.seed, positions
    return draw(*(each.to(device) for each in arguments)).tolist()


def drawn_cut(logits: Tensor, rows: Tensor, params: SamplingTensors, positions: Tensor, device: str) -> list[int]:
    cuts = params.top_k, params.top_p, params.min_p
    arguments = logits, rows, params.temperature, *cuts, params.seed, positions
    return draw_cut(*(each.to(device) for each in arguments)).tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocab", [1, 7, 4096, 4097, 9000])
def test_draws_are_the_samplers(vocab: int, device: str) -> None:
    """At every temperature, in one part of the vocabulary or several, of some rows of many."""
    logits = torch.randn(8, vocab, generator=torch.Generator().manual_seed(vocab)) * 3
    logits[3, vocab // 3 :] = -torch.inf if vocab > 3 else 0.0
    rows = torch.tensor([6, 0, 3, 3, 5])
    params = [SamplingParams(1, temperature=t) for t in (1.0, 0.3, 2.0, 1e-40, 1e-6)]
    tensors = SamplingTensors.of(params, SEEDS, CPU)
    for position in range(6):
        positions = torch.full((5,), position)
        expected = sample(logits[rows], tensors, positions)
        assert drawn(logits, rows, tensors, positions, device) == expected.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_the_end_of_the_range(device: str) -> None:
    """However numbers round, the token has probability; a broken row finds a valid one."""
    logits = torch.full((5, 5000), -torch.inf)
    logits[0, [17, 4500]] = 1.0
    logits[1, 4999] = -5.0
    logits[2] = torch.nan
    logits[3, 9] = torch.inf
    rows = torch.arange(5).repeat(4)
    tensors = SamplingTensors.of([SamplingParams(1, top_p=0.9, top_k=3)] * 20, range(20), CPU)
    for draws in (drawn, drawn_cut):
        tokens = torch.tensor(draws(logits, rows, tensors, torch.arange(20), device)).view(4, 5)
        assert set(tokens[:, 0].tolist()) <= {17, 4500}
        assert tokens[:, 1].tolist() == [4999] * 4
        assert ((tokens >= 0) & (tokens < 5000)).all()


CUTS = {
    "nothing": {}, "top-k": {"top_k": 5}, "the-likeliest": {"top_k": 1}, "more-than-there-are": {"top_k": 10_000},
    "top-p": {"top_p": 0.9}, "nearly-all": {"top_p": 0.9999}, "hardly-any": {"top_p": 1e-6}, "min-p": {"min_p": 0.05},
    "the-equal": {"min_p": 1.0}, "all": {"top_k": 50, "top_p": 0.7, "min_p": 0.01}, "greedy": {"temperature": 0.0},
    "hot": {"temperature": 5.0, "top_p": 0.5}, "cold": {"temperature": 1e-40, "top_k": 3},
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("vocab", "dtype", "cuts"),
    [(1, torch.float32, ["all", "greedy"]), (300, torch.bfloat16, CUTS), (9000, torch.float32, ["all", "nearly-all"])],
    ids=["one-token", "one-block", "two-blocks"],
)
def test_cut_draws_are_the_samplers(vocab: int, dtype: torch.dtype, cuts: Iterable[str], device: str) -> None:
    """Every cut and all together, with many equal logits and with none, beside what cannot be."""
    generator = torch.Generator().manual_seed(vocab)
    logits = torch.randn(2, vocab, generator=generator) * 3
    logits[0] = logits[0].round()
    logits[1, vocab // 3 :] = -torch.inf if vocab > 3 else 0.0
    logits = logits.to(dtype)
    params = [SamplingParams(1, **{"temperature": 1.0, **CUTS[cut]}) for cut in cuts for _ in range(2)]
    rows = torch.arange(len(params)) % 2
    tensors = SamplingTensors.of(params, range(len(params)), CPU)
    positions = torch.arange(len(params))
    expected = sample(logits[rows].float(), tensors, positions)
    assert drawn_cut(logits, rows, tensors, positions, device) == expected.tolist()
