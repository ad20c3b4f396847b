"""The drawing kernel against the sampler: the same token for the same number."""

import pytest
import torch

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.cuda.kernels.draw import draw
from pelton.workers.engine.sampling.sampling import SamplingTensors, sample, uniform
from tests.unit.workers.engine._support.kernels import DEVICES


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocab", [1, 7, 4096, 4097, 9000])
def test_draws_are_the_samplers(vocab: int, device: str) -> None:
    """At every temperature, in one part of the vocabulary or several, of some rows of many."""
    logits = torch.randn(8, vocab, generator=torch.Generator().manual_seed(vocab)) * 3
    logits[3, vocab // 3 :] = -torch.inf if vocab > 3 else 0.0
    rows = torch.tensor([6, 0, 3, 3, 5])
    params = [SamplingParams(1, temperature=t) for t in (1.0, 0.3, 2.0, 0.7, 1e-6)]
    tensors = SamplingTensors.of(params, range(5), torch.device("cpu"))
    for position in range(6):
        positions = torch.full((5,), position)
        expected = sample(logits[rows], tensors, positions)
        arguments = rows, tensors.temperature, uniform(tensors.seed, positions)
        got = draw(*(each.to(device) for each in (logits, *arguments)))
        assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_the_ends_of_the_range(device: str) -> None:
    """The least and the largest number find a token that has probability; a broken row finds a valid one."""
    logits = torch.full((3, 5000), -torch.inf, device=device)
    logits[0, [17, 4500]] = 1.0
    logits[1, 4999] = -5.0
    logits[2] = torch.nan
    rows = torch.tensor([0, 0, 1, 1, 2], device=device)
    uniforms = torch.tensor([0.0, 1 - 2**-24, 0.0, 1 - 2**-24, 0.5], device=device)
    tokens = draw(logits, rows, torch.ones(5, device=device), uniforms).tolist()
    assert tokens[:4] == [17, 4500, 4999, 4999]
    assert 0 <= tokens[4] < 5000
