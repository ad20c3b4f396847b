"""How long endings gather before they are published."""

import time
from dataclasses import dataclass, field
from typing import cast

import pytest

from pelton.pipeline.errors import Cancelled
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.delivery.linger import MAX_INTERVALS, WAIT_SHARE, LingerPolicy
from pelton.workers.engine.api import Completion, FinishReason, StepEngine
from pelton.workers.requests import CacheHit, Failed, Generated, Result
from pelton.workers.sharing.generation import Computed, Generation
from tests.unit._support.single_flight import ANSWER, BODY, delivery, generation, queued

COMPLETION = Completion(request_id=0, token_ids=(1,), finish_reason=FinishReason.STOP, prefill_s=0.0, decode_s=0.0)


def computed(waited_s: float) -> Computed:
    one = generation()
    return Computed(one, Generated(one.job, COMPLETION, waited_s, 0.0))


@dataclass(frozen=True, slots=True)
class EngineWith:
    running: int


def engine_with(running: int) -> StepEngine:
    return cast(StepEngine, EngineWith(running))


MANY = 1_000
"""A second: so many come that a result waits for nearly the whole interval."""


@dataclass
class Clock:
    """Time that the test moves."""

    now: float = field(default_factory=time.monotonic)

    def __call__(self) -> float:
        return self.now


def patience_of(
    line: RequestQueue[Generation], running: int, per_s: int = MANY, interval_s: float = 0.05
) -> LingerPolicy:
    """After twenty seconds in which results came at this pace."""
    clock = Clock(time.monotonic() - 20)
    policy = LingerPolicy(line, engine_with(running), interval_s, clock)
    refused = Failed(delivery(), Cancelled("by its client"))
    for _ in range(20 * per_s):
        clock.now += 1 / per_s
        policy(refused)
    return policy


@pytest.mark.parametrize(
    ("own_wait_s", "longest_wait_s", "gathers_s"),
    [
        (0.0, None, 0.05),
        (0.0, 0.1, 0.05),
        (0.0, 16.0, WAIT_SHARE * 16.0),
        (16.0, None, WAIT_SHARE * 16.0),
        (16.0, 8.0, WAIT_SHARE * 16.0),
        (0.0, 600.0, MAX_INTERVALS * 0.05),
        (600.0, None, MAX_INTERVALS * 0.05),
    ],
)
async def test_only_answers_gather_longer_and_the_longer_requests_wait(
    own_wait_s: float, longest_wait_s: float | None, gathers_s: float
):
    """A share of the longest wait for the engine, its own or another's, within limits; never for a hit or a refusal."""
    line: RequestQueue[Generation] = RequestQueue(max_tokens=100, max_requests=10)
    patience = patience_of(line, running=1)
    answered = computed(own_wait_s)
    owed = delivery()
    others: list[Result] = [
        CacheHit(owed, ANSWER, BODY, CacheOutcome.HIT_LOCAL),
        Failed(owed, Cancelled("by its client")),
    ]
    if longest_wait_s is not None:
        await line.put(queued(1, patience.clock() - longest_wait_s))
        await line.put(queued(2, patience.clock()))
    assert patience(answered) == pytest.approx(gathers_s, abs=0.01)
    assert [patience(ending) for ending in others] == [pytest.approx(0.05, abs=0.002)] * 2


async def test_the_last_answers_of_an_engine_do_not_wait_for_others():
    """Nobody follows them, and there is no step that a commit would disturb."""
    line: RequestQueue[Generation] = RequestQueue(max_tokens=100, max_requests=10)
    assert patience_of(line, running=0)(computed(600.0)) == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize(("per_s", "waits_s"), [(1, 0.0), (10, 0.0), (40, 0.025), (200, 0.045)])
async def test_the_fewer_come_the_less_a_result_waits(per_s: int, waits_s: float):
    """Nobody waits for company that does not come; as commits would come too often, results share them."""
    line: RequestQueue[Generation] = RequestQueue(max_tokens=100, max_requests=10)
    assert patience_of(line, 1, per_s)(computed(0.0)) == pytest.approx(waits_s, abs=0.002)


async def test_without_an_interval_nothing_gathers():
    """Who asks for each reply at once gets it, however long the line."""
    line: RequestQueue[Generation] = RequestQueue(max_tokens=100, max_requests=10)
    await line.put(queued(1, time.monotonic() - 600))
    assert patience_of(line, running=1, interval_s=0.0)(computed(600.0)) == 0.0
