"""Sampling: the right token for each row, whatever else is in the batch."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.sampling.penalties import History, penalise
from pelton.workers.engine.sampling.sampling import (
    SamplingTensors,
    _inverse_cdf,
    broken_rows,
    likeliest,
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


@given(
    vocab=st.sampled_from([1, 511, 512, 513, 767, 1024, 1500]), count=st.integers(1, 4), seed=st.integers(0, 1000),
    levels=st.sampled_from([1, 3, 2**20]),
)  # fmt: skip
def test_the_likeliest_token_is_argmax(vocab: int, count: int, seed: int, levels: int) -> None:
    """The same token at any size of vocabulary; of several that are as likely the first, also beside minus infinity."""
    drawn = torch.randint(levels, (count, vocab), generator=torch.Generator().manual_seed(seed))
    logits = torch.where(drawn % 3 == 2, -torch.inf, drawn.float())
    assert torch.equal(likeliest(logits), logits.argmax(dim=-1))


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


def kept_by_transformers(logits: Tensor, params: SamplingParams) -> Tensor:
    """Which tokens transformers' own warpers leave, in the order in which it applies them."""
    ids = torch.zeros(len(logits), 1, dtype=torch.int64)
    warpers = [TemperatureLogitsWarper(params.temperature)]
    warpers += [TopKLogitsWarper(params.top_k)] if params.top_k else []
    warpers += [TopPLogitsWarper(params.top_p)] if params.top_p < 1 else []
    warpers += [MinPLogitsWarper(params.min_p)] if params.min_p else []
    for warper in warpers:
        logits = warper(ids, logits)
    return logits.softmax(dim=-1)


@settings(deadline=None, max_examples=60)
@given(
    top_k=st.sampled_from([0, 1, 5, 300, 10_000]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_filters_keep_what_transformers_keeps(
    top_k: int, top_p: float, min_p: float, temperature: float, seed: int
) -> None:
    """Any combination of filters draws only from the tokens that transformers would draw from, in one batch."""
    params = SamplingParams(1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = random_logits(seed, 1)
    allowed = kept_by_transformers(logits, params)[0] > 0
    others = SamplingParams(1, temperature=1.0, top_k=3), SamplingParams(1, temperature=0.0), SamplingParams(1)
    batch = SamplingTensors.of([params] * 200 + list(others), range(203), CPU)
    drawn = sample(logits.expand(203, -1), batch, torch.zeros(203, dtype=torch.int64))
    assert allowed[drawn[:200]].all()


def test_top_k_draws_by_probability() -> None:
    """Among the k likeliest tokens, each comes as often as its share; no other comes at all."""
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0, 2.5]])
    batch = SamplingTensors.of([SamplingParams(1, top_k=3)] * 20_000, range(20_000), CPU)
    counts = torch.bincount(
        sample(logits.expand(20_000, -1), batch, torch.zeros(20_000, dtype=torch.int64)), minlength=5
    )
    assert counts[[0, 3]].tolist() == [0, 0]
    kept = [1, 2, 4]
    assert chi_square(counts[kept].float(), logits[0, kept].softmax(-1)) < 13.8  # 1 in 1,000 for 2 degrees of freedom


def test_the_repetition_penalty_is_transformers_own() -> None:
    """Prompt and answer count, positive and negative logits are treated as transformers does."""
    logits = random_logits(4, 2)
    told = [[3, 5, 5, 600], [9]]
    params = [SamplingParams(1, repetition_penalty=1.7), SamplingParams(1, repetition_penalty=0.6)]
    got = penalise(logits, params, [History(np.array(tokens), 1) for tokens in told])
    for row, tokens in enumerate(told):
        processor = RepetitionPenaltyLogitsProcessor(params[row].repetition_penalty)
        expected = processor(torch.tensor([tokens]), logits[row : row + 1].clone())
        assert torch.allclose(got[row : row + 1], expected)


def test_presence_and_frequency_count_the_answer_only() -> None:
    """Presence is taken off once, frequency for each time; the prompt and rows without penalties are left alone."""
    logits = torch.zeros(2, 10)
    params = [SamplingParams(1, presence_penalty=0.5, frequency_penalty=0.25), SamplingParams(1)]
    history = History(np.array([1, 2, 3, 3, 4]), 2)
    got = penalise(logits, params, [history, history])
    assert got[0].tolist() == [0, 0, 0, -1.0, -0.75, 0, 0, 0, 0, 0]
    assert got[1].tolist() == [0] * 10
    assert penalise(logits, [params[1]] * 2, [history] * 2) is logits


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -1.0}, "temperature"), ({"top_p": 0.0}, "top_p"), ({"top_k": -1}, "top_k"),
        ({"min_p": 1.5}, "min_p"), ({"repetition_penalty": 0.0}, "repetition_penalty"), ({"logprobs": -1}, "logprobs"),
    ],
)  # fmt: skip
def test_meaningless_parameters_are_refused(wrong: dict[str, Any], words: str) -> None:
    """Each message names its field."""
    with pytest.raises(ValueError, match=words):
        SamplingParams(1, **wrong)
