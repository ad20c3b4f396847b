"""Intervals hold what they promise: in simulations with a fixed seed, the truth lies inside about 95 times in 100.

300 runs have a standard error of 1.3 points, so that a right interval stays within three of them.
"""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.ab.intervals import (
    Interval,
    difference_of_means,
    difference_of_rates,
    mean_interval,
    mean_of,
    quantile,
    quantile_interval,
    rate_interval,
    share_mismatch,
    t_quantile,
    wilson,
)

RUNS = 300


def coverage(truth: float, interval: Callable[[random.Random], Interval | None]) -> float:
    chance = random.Random(20261128)
    inside = 0
    for _ in range(RUNS):
        found = interval(chance)
        assert found is not None
        inside += found.low <= truth <= found.high
    return inside / RUNS


def independent(values: list[float]):
    return mean_of(values, range(len(values)))


@pytest.mark.parametrize(
    ("probability", "df", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.975, 10, 2.2281), (0.975, 30, 2.0423)],
    ids=["1", "2", "4", "10", "30"],
)
def test_quantiles_of_t_are_those_of_the_tables(probability: float, df: float, value: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(value, rel=0.002)


def test_wilson_is_the_one_of_the_books() -> None:
    """7 of 10: 0.397 to 0.892; none of 20: from 0 to 0.161."""
    some, none = wilson(0.7, 10), wilson(0.0, 20)
    assert (some.low, some.high) == pytest.approx((0.3968, 0.8922), abs=1e-4)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_wilson_covers_as_often_as_it_promises() -> None:
    """Computed, not simulated: over all rates 95 times in 100, and at the worst of them hardly less."""
    count = 200
    bounds = [wilson(seen / count, count) for seen in range(count + 1)]

    def covered(rate: float) -> float:
        return math.fsum(
            math.comb(count, seen) * rate**seen * (1 - rate) ** (count - seen)
            for seen, found in enumerate(bounds)
            if found.low <= rate <= found.high
        )

    covers = [covered(percent / 100) for percent in range(2, 99)]
    assert math.fsum(covers) / len(covers) == pytest.approx(0.95, abs=0.005)
    assert min(covers) > 0.925


@pytest.mark.parametrize("share", [0.05, 0.3], ids=str)
def test_a_rate_is_covered(share: float) -> None:
    def interval(chance: random.Random) -> Interval | None:
        mean = independent([float(chance.random() < share) for _ in range(200)])
        return rate_interval(mean)

    assert coverage(share, interval) == pytest.approx(0.95, abs=0.038)


def test_a_skewed_mean_is_covered() -> None:
    """Latencies are log-normal."""

    def interval(chance: random.Random) -> Interval | None:
        return mean_interval(independent([chance.lognormvariate(0, 0.8) for _ in range(300)]))

    assert coverage(math.exp(0.32), interval) == pytest.approx(0.95, abs=0.038)


def test_a_mean_of_unequal_users_is_covered() -> None:
    """Where a user's requests are alike, taking them as independent would claim far too much."""

    def values(chance: random.Random) -> tuple[list[float], list[int]]:
        found, units = [], []
        for user in range(60):
            own = chance.gauss(10, 3)
            for _ in range(chance.randrange(1, 20)):
                found.append(chance.gauss(own, 1))
                units.append(user)
        return found, units

    def by_user(chance: random.Random) -> Interval:
        mean = mean_of(*values(chance))
        assert mean is not None
        return mean_interval(mean)

    assert coverage(10, by_user) == pytest.approx(0.95, abs=0.038)
    assert coverage(10, lambda chance: mean_interval(independent(values(chance)[0]))) < 0.7


@pytest.mark.parametrize("share", [0.5, 0.95], ids=str)
def test_a_quantile_is_covered(share: float) -> None:
    """At least as often as promised: order statistics are steps."""
    truth = -math.log(1 - share)

    def interval(chance: random.Random) -> Interval | None:
        return quantile_interval(sorted(chance.expovariate(1) for _ in range(250)), share)

    assert 0.93 <= coverage(truth, interval) <= 0.99


def test_a_difference_is_covered_and_none_is_seen_where_there_is_none() -> None:
    def means(chance: random.Random) -> Interval:
        first = independent([chance.gauss(5, 1) for _ in range(40)])
        return difference_of_means(first, independent([chance.gauss(6, 4) for _ in range(90)]))

    def rates(chance: random.Random) -> Interval:
        first = independent([float(chance.random() < 0.1) for _ in range(150)])
        return difference_of_rates(first, independent([float(chance.random() < 0.1) for _ in range(150)]))

    assert coverage(1, means) == pytest.approx(0.95, abs=0.038)
    assert coverage(0, rates) == pytest.approx(0.95, abs=0.038)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_lies_in_its_interval(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile_interval(ordered, share)
    assert found is None or found.low <= quantile(ordered, share) <= found.high


def test_too_few_values_have_no_interval() -> None:
    """A 95th percentile needs 59 values for an upper bound at this level, and a mean two units."""
    assert quantile_interval([1.0] * 50, 0.95) is None
    assert quantile_interval([1.0] * 80, 0.95) is not None
    assert mean_of([1.0, 2.0], ["one", "one"]) is None
    assert mean_of([], []) is None


def test_unfair_shares_are_found() -> None:
    assert share_mismatch([5_000, 5_000], [1, 1]) == pytest.approx(1)
    assert share_mismatch([5_300, 4_700], [1, 1]) < 1e-6
    assert share_mismatch([70, 20, 10], [7, 2, 1]) == pytest.approx(1, abs=0.01)
    assert share_mismatch([400, 300, 300], [1, 1, 1]) < 0.001
