"""The wait for company follows how often something arrives."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.scheduling.arrivals import SPAN_S, ArrivalRate

gaps = st.lists(st.floats(0, 2), min_size=1, max_size=60)


def after(gaps_s: list[float], start: float = 1_000.0) -> tuple[ArrivalRate, float]:
    """Arrivals with so much time between them, and when the last was."""
    rate, now = ArrivalRate(), start
    for gap in gaps_s:
        now += gap
        rate.arrived(now)
    return rate, now


@given(gaps, st.floats(0, 10))
def test_a_rate_is_the_sum_of_what_each_arrival_still_counts(gaps_s: list[float], later: float) -> None:
    """Whatever came when: so it never grows without an arrival, and no burst counts for more than its size."""
    rate, now = after(gaps_s)
    times = [now - sum(gaps_s[index + 1 :]) for index in range(len(gaps_s))]
    expected = sum(math.exp(-(now + later - at) / SPAN_S) / SPAN_S for at in times)
    assert rate.per_s(now + later) == pytest.approx(expected, abs=1e-9)


@given(st.floats(2, 200))
def test_of_regular_arrivals_it_is_their_number_a_second(per_s: float) -> None:
    """Just after one it is too high by no more than that one, and just before the next too low by no more."""
    rate, now = after([1 / per_s] * int(per_s * 12))
    assert per_s <= rate.per_s(now) <= per_s + 1 / SPAN_S
    assert per_s - 1 / SPAN_S <= rate.per_s(now + 1 / per_s) <= per_s


@given(gaps, st.floats(-5, 0))
def test_a_time_before_the_latest_is_taken_for_that(gaps_s: list[float], earlier: float) -> None:
    """Threads may be late with what they saw."""
    (late, now), (punctual, _) = after(gaps_s), after(gaps_s)
    late.arrived(now + earlier)
    punctual.arrived(now)
    assert late.per_s(now) == pytest.approx(punctual.per_s(now))


@given(gaps, st.floats(0, 1), st.floats(0, 5))
def test_a_window_keeps_its_bounds_and_shrinks_with_quiet(gaps_s: list[float], longest_s: float, later: float) -> None:
    """Never below nothing or above the longest; the longer nothing comes, the shorter it is."""
    rate, now = after(gaps_s)
    assert 0 <= rate.window_s(longest_s, now + later) <= rate.window_s(longest_s, now) <= longest_s


@pytest.mark.parametrize(("per_s", "window_s"), [(0.1, 0.0), (1.0, 0.0), (15.0, 0.0), (40.0, 0.025), (1_000.0, 0.049)])
def test_at_low_load_nothing_waits_and_at_high_load_nearly_the_longest(per_s: float, window_s: float) -> None:
    """Of 50 ms."""
    rate, now = after([1 / per_s] * max(1, int(per_s * 10)))
    assert rate.window_s(0.05, now) == pytest.approx(window_s, abs=0.001)


@pytest.mark.parametrize("per_s", [5, 15, 25, 60, 300])
def test_batches_come_no_more_often_than_the_longest_allows(per_s: int) -> None:
    """At any load; and each arrival waits no longer than the longest, most of them not at all at low load."""
    chance, rate, longest_s = random.Random(3), ArrivalRate(), 0.05
    now, due, batches, waits = 0.0, math.inf, 0, []
    while now < 200:
        now += chance.expovariate(per_s)
        if now >= due:
            batches, due = batches + 1, math.inf
        rate.arrived(now)
        wait = rate.window_s(longest_s, now)
        due = min(due, now + wait)
        waits.append(due - now)
    assert batches / 200 <= 1.1 / longest_s
    assert max(waits) <= longest_s
    if per_s == 5:
        assert sum(waits) == pytest.approx(0, abs=0.01 * len(waits) * longest_s)


def test_nothing_has_come_yet() -> None:
    """Then nothing is worth waiting for."""
    assert ArrivalRate().per_s(5.0) == 0
    assert ArrivalRate().window_s(1.0, 5.0) == 0
