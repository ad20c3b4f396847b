"""What is guessed, and how many guesses a step verifies: as many as pay by the times that steps take."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.sequences import SequenceState
from pelton.workers.engine.speculation.lookup import LEAST_MATCH, propose
from pelton.workers.engine.speculation.speculator import Speculator
from pelton.workers.engine.speculation.step_costs import StepCosts, size_of

STEPS = 600


@given(text=st.lists(st.integers(0, 3), max_size=40), most=st.integers(1, 20))
def test_a_proposal_followed_an_equal_ending(text: list[int], most: int) -> None:
    """What is proposed stood behind the same tokens before; where it reaches the end of the text it repeats."""
    proposal = propose(np.array(text, dtype=np.int64), most)
    if not proposal.tokens:
        pairs = list(itertools.pairwise(text))
        assert len(text) <= LEAST_MATCH or pairs[-1] not in pairs[:-1]
        return
    assert len(proposal.tokens) == most
    ending, grown = text[-proposal.matched :], text + list(proposal.tokens)
    places = [at for at in range(len(text) - proposal.matched) if text[at : at + proposal.matched] == ending]
    assert any(all(grown[len(text) + i] == grown[at + proposal.matched + i] for i in range(most)) for at in places)


@given(tokens=st.integers(1, 2000))
def test_sizes_are_few_and_close(tokens: int) -> None:
    """A size holds its tokens, is a size of its own, and is at most a quarter larger."""
    assert tokens <= size_of(tokens) <= 1.25 * tokens
    assert size_of(size_of(tokens)) == size_of(tokens)


def test_costs_lie_between_what_was_measured() -> None:
    """One slow step does not count; unknown sizes lie between known ones; far ones are unknown."""
    costs = StepCosts()
    assert costs.seconds(1) is None
    for seconds in (1.0, 50.0, 1.0):
        costs.observe(2, seconds)
    for _ in range(2):
        costs.observe(6, 3.0)
    assert (costs.seconds(2), costs.seconds(4), costs.seconds(6)) == (1.0, 2.0, 3.0)
    assert costs.seconds(100) is None


def simulated(seconds: Callable[[int], float], comes_true: Callable[[int], bool], rows: int = 2) -> float:
    """How many times faster a row's tokens come than without guesses, where a text goes round in a circle of ten and
    each token that breaks it is followed by it again."""
    speculator = Speculator(max_batch_tokens=512)
    own = [speculator.guesses() for _ in range(rows)]
    texts = []
    for row in range(rows):
        sequence = SequenceState(EngineRequest(row, [*range(10)] * 5, SamplingParams(40 * STEPS)), row)
        sequence.append(0)
        texts.append(sequence)
    spent, told = 0.0, 0
    for _ in range(STEPS):
        for sequence in texts:
            sequence.computed = sequence.length - 1
        works = [ScheduledChunk(sequence, sequence.computed, 1) for sequence in texts]
        drafts = speculator.drafts(works, own)
        planned = [
            ScheduledChunk(work.sequence, work.start, 1, drafts=each) for work, each in zip(works, drafts, strict=True)
        ]
        took = seconds(sum(work.rows for work in planned))
        for sequence, guesses, each in zip(texts, own, drafts, strict=True):
            said = []
            for place in range(len(each) + 1):
                token = (int(sequence.tokens[-1]) + 1) % 10
                said.append(token if comes_true(sequence.length) else (token + 3) % 10)
                sequence.append(said[-1])
                if place == len(each) or said[-1] != each[place]:
                    break
            guesses.compare(said)
            told += len(said)
        speculator.observe(planned, took)
        spent += took
    return (told / spent) / (rows / seconds(rows))


@pytest.mark.parametrize(
    ("seconds", "every", "least"),
    [
        pytest.param(lambda _: 1.0, 10_000, 5.0, id="free-and-right"),
        pytest.param(lambda tokens: 1 + 0.05 * tokens, 10_000, 2.5, id="cheap-and-right"),
        pytest.param(lambda tokens: 1 + 0.05 * tokens, 2, 0.97, id="cheap-and-wrong"),
        pytest.param(float, 10_000, 0.97, id="dear-and-right"),
        pytest.param(float, 3, 0.97, id="dear-and-wrong"),
        pytest.param(lambda tokens: tokens**1.3, 5, 0.97, id="dearer-and-half-right"),
    ],
)
def test_guesses_gain_where_they_pay_and_cost_little_elsewhere(
    seconds: Callable[[int], float], every: int, least: float
) -> None:
    """By simulated times: much is gained where steps with guesses cost little; nowhere are more than 3 % lost."""
    assert simulated(seconds, lambda place: place % every > 0) >= least
