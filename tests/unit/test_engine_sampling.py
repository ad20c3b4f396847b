"""Sampling: the right token for each row, whatever else is in the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.engine.api import SamplingParams
from workers.engine.sampling import (
    SamplingTensors,
    _inverse_cdf,
    broken_rows,
    nucleus_floor,
    sample,
    token_logprobs,
    uniform,
)

CPU = torch.device("cpu")
VOCAB = 700  # above what the nucleus search looks at first

temperatures = st.sampled_from([0.0, 1e-30, 0.3, 1.0, 5.0])
top_ps = st.sampled_from([1e-9, 0.3, 0.9, 0.999, 1.0])
rows = st.lists(st.tuples(temperatures, top_ps, st.integers(-(2**70), 2**70)), min_size=1, max_size=6)


def random_logits(seed: int, n_rows: int, spread: float = 3.0) -> Tensor:
    return torch.randn(n_rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread


def tensors(settings_of_rows: list[tuple[float, float, int]]) -> SamplingTensors:
    params = [SamplingParams(1, temperature=temperature, top_p=top_p) for temperature, top_p, _ in settings_of_rows]
    return SamplingTensors.of(params, [seed for *_, seed in settings_of_rows], CPU)


def draw(logits: Tensor, temperature: float = 1.0, top_p: float = 1.0, draws: int = 20_000) -> Tensor:
    """Many draws from one distribution, each with a seed of its own."""
    batch = tensors([(temperature, top_p, seed) for seed in range(draws)])
    return sample(logits.expand(draws, -1), batch, torch.zeros(draws, dtype=torch.int64))


def chi_square(counts: Tensor, probs: Tensor) -> float:
    expected = probs * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@settings(deadline=None, max_examples=60)
@given(batch=rows, seed=st.integers(0, 1000), position=st.integers(0, 100_000), spread=st.sampled_from([0.1, 3.0]))
def test_a_row_draws_the_same_token_alone_and_in_any_batch(
    batch: list[tuple[float, float, int]], seed: int, position: int, spread: float
) -> None:
    """Neither neighbours nor their parameters may change a row's token."""
    logits = random_logits(seed, len(batch), spread)
    positions = torch.arange(len(batch)) + position
    together = sample(logits, tensors(batch), positions)
    for index, row in enumerate(batch):
        alone = sample(logits[index : index + 1], tensors([row]), positions[index : index + 1])
        assert alone.item() == together[index].item()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), spread=st.sampled_from([0.01, 1.0, 4.0]), top_p=st.floats(1e-6, 0.9999))
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(seed: int, spread: float, top_p: float) -> None:
    """Its mass reaches top_p, and without its least likely members it would not."""
    probs = torch.softmax(random_logits(seed, 2, spread).double(), dim=-1).float()
    floor = nucleus_floor(probs, torch.tensor([top_p, 1.0]))
    assert floor[1] == 0
    kept = probs[0].double()[probs[0] >= floor[0]].sum()
    without_last = probs[0].double()[probs[0] > floor[0]].sum()
    assert without_last - 1e-6 < top_p <= kept + 1e-6


def test_draws_stay_inside_the_nucleus() -> None:
    """top_p cuts off the tail and renormalises what is left."""
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[None]
    counts = draw(logits, top_p=0.75).bincount(minlength=4)
    assert counts[2:].tolist() == [0, 0]
    assert chi_square(counts[:2], torch.tensor([0.5, 0.3]) / 0.8) < 15.1  # one degree of freedom, p = 0.0001


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    """Over many seeds the tokens come as often as softmax(logits / temperature) says."""
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 1.5, 0.2]])
    counts = draw(logits, temperature).bincount(minlength=8)
    probs = torch.softmax(logits[0] / temperature, dim=-1)
    assert chi_square(counts, probs) < 29.9  # seven degrees of freedom, p = 0.0001


def test_positions_of_one_seed_are_independent_draws() -> None:
    """A sequence from one seed is as random as many seeds: uniform, and without correlation between neighbours."""
    values = uniform(torch.full((40_000,), 7), torch.arange(40_000))
    counts = (values * 16).long().bincount(minlength=16)
    assert chi_square(counts, torch.full((16,), 1 / 16)) < 44.3  # fifteen degrees of freedom, p = 0.0001
    assert abs(torch.corrcoef(torch.stack((values[:-1], values[1:])))[0, 1]) < 0.02


def test_neighbouring_seeds_and_positions_do_not_collide() -> None:
    """Seed 1 at position 0 is not seed 0 at position 1: requests seeded 1, 2, 3 must not share a sequence."""
    grid = torch.cartesian_prod(torch.arange(100), torch.arange(100))
    assert len(uniform(grid[:, 0], grid[:, 1]).unique()) > 9_990


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_temperature_zero_takes_the_likeliest(seed: int) -> None:
    """Greedy rows take the arg-max, in a batch with sampled rows too."""
    logits = random_logits(seed, 3)
    greedy = sample(logits, tensors([(0.0, 0.1, 1)] * 3), torch.zeros(3, dtype=torch.int64))
    mixed = sample(logits, tensors([(0.0, 1.0, 1), (1.0, 0.5, 2), (0.0, 0.5, 3)]), torch.zeros(3, dtype=torch.int64))
    assert greedy.tolist() == logits.argmax(-1).tolist()
    assert mixed[[0, 2]].tolist() == logits.argmax(-1)[[0, 2]].tolist()


def test_tiny_temperature_and_top_p_are_greedy() -> None:
    """Parameters at the edge of their range must not overflow into NaN or an empty nucleus."""
    logits = random_logits(0, 1, spread=1e4)
    assert set(draw(logits, temperature=1e-40, draws=100).tolist()) == {logits.argmax().item()}
    assert set(draw(logits / 1e4, top_p=1e-12, draws=100).tolist()) == {logits.argmax().item()}


def test_impossible_tokens_are_never_drawn() -> None:
    """Masked tokens (-inf) have no probability, at the end of the vocabulary neither."""
    logits = torch.full((1, 50), -torch.inf)
    logits[0, [0, 10, 20]] = 0.0
    assert set(draw(logits).tolist()) == {0, 10, 20}


@given(total=st.floats(0.25, 4.0, width=32))
def test_the_ends_of_the_unit_interval_draw_tokens_with_probability(total: float) -> None:
    """Neither the smallest nor the largest uniform number lands on a token that cannot be, however totals round."""
    probs = torch.tensor([[0.0, total / 2, total / 2, 0.0]])
    assert _inverse_cdf(probs, torch.tensor([0.0])).item() == 1
    assert _inverse_cdf(probs, torch.tensor([1 - 2.0**-24])).item() == 2


def test_broken_rows_are_named_and_leave_the_others_alone() -> None:
    """NaN, +inf and all -inf break a row; single -inf entries do not."""
    logits = random_logits(1, 5)
    healthy = sample(logits, tensors([(1.0, 0.9, 3)] * 5), torch.zeros(5, dtype=torch.int64))
    logits[0, 5], logits[1, 5], logits[2], logits[3, 5] = torch.nan, torch.inf, -torch.inf, -torch.inf
    assert broken_rows(logits).tolist() == [True, True, True, False, False]
    tokens = sample(logits, tensors([(1.0, 0.9, 3)] * 5), torch.zeros(5, dtype=torch.int64))
    assert tokens[4] == healthy[4]
    assert bool(((tokens >= 0) & (tokens < VOCAB)).all())


@pytest.mark.parametrize("top", [0, 3, VOCAB + 1])
def test_logprobs_are_the_models_own(top: int) -> None:
    """They are log_softmax of the raw logits; alternatives come best first, and no more than there are tokens."""
    logits, tokens = random_logits(2, 2), torch.tensor([5, 600])
    chosen, values, ids = token_logprobs(logits, tokens, top)
    expected = torch.log_softmax(logits, dim=-1)
    torch.testing.assert_close(chosen, expected[[0, 1], tokens])
    best = expected.sort(dim=-1, descending=True)
    torch.testing.assert_close(values, best.values[:, :top])
    assert ids[:, : min(top, 3)].tolist() == best.indices[:, : min(top, 3)].tolist()
