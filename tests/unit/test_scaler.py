"""The scaler that is deployed follows a backlog up and down once."""

import math
from itertools import pairwise

import pytest

from benchmarks.support.scaler import STABILISATION_S, SYNC_S, Rule, simulate, turns

RULE = Rule.of_manifest()
WORKER = 10.0
"""Requests a second."""


def test_a_burst_is_one_way_up_and_one_way_down() -> None:
    """From nothing to 50,000 and back to no worker: all are answered, and no worker is started and ended in turns."""
    course = simulate(RULE, lambda at: 600.0 if 60 <= at < 160 else 0.0, seconds=4_000, worker_per_s=WORKER)
    assert max(moment.backlog for moment in course) > 45_000
    assert max(moment.wanted for moment in course) == RULE.most
    assert turns(course) == 1
    assert (course[-1].backlog, course[-1].wanted) == (0, 0)
    served = next(moment.at_s for moment in course if moment.at_s > 200 and not moment.backlog)
    assert served < 160 + 60_000 / (RULE.most * WORKER) + 90


def test_it_starts_from_zero_within_a_look() -> None:
    """One request is enough, and the last worker stays for the cooldown."""
    course = simulate(RULE, lambda at: 1.0 if at == 100 else 0.0, seconds=1_000, worker_per_s=WORKER)
    begun = next(moment.at_s for moment in course if moment.wanted)
    ended = next(moment.at_s for moment in course if moment.at_s > begun and not moment.wanted)
    assert begun <= 115
    assert ended - begun >= RULE.cooldown_s
    assert turns(course) == 1


@pytest.mark.parametrize("period_s", [60, 120, 240, 600])
def test_no_worker_is_ended_soon_after_one_was_started(period_s: int) -> None:
    """However a load swings, from a tenth to twice of its mean: that is what flapping would be."""
    course = simulate(
        RULE, lambda at: 40 + 35 * math.sin(2 * math.pi * at / period_s), seconds=7_200, worker_per_s=WORKER
    )
    last_start = 0
    for before, after in pairwise(course):
        if after.wanted > before.wanted:
            last_start = after.at_s
        elif after.wanted < before.wanted:
            assert after.at_s - last_start >= STABILISATION_S - SYNC_S
    assert max(moment.backlog for moment in course) < 12 * RULE.threshold


def test_lag_that_a_straggler_holds_up_keeps_workers_for_nothing() -> None:
    """Why not lag: one long request makes all behind it look as if they waited, long after they are answered."""
    answered_late = 3_000

    def burst(at: int) -> float:
        return 500.0 if at < 20 else 0.0

    def lag(at: list[int]):
        def seen(backlog: float) -> float:
            at[0] += 15
            return 10_000.0 if 15 < at[0] < answered_late else backlog

        return seen

    true = simulate(RULE, burst, seconds=5_000, worker_per_s=WORKER)
    misled = simulate(RULE, burst, seconds=5_000, worker_per_s=WORKER, seen=lag([0]))
    hours = [sum(moment.wanted for moment in course) / 3600 for course in (true, misled)]
    assert hours[1] > 3 * hours[0]
