"""The chaos schedule: a function of its seed, every kind of fault in it, and never the end of everything."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import (
    ALL_WORKERS,
    ONE_WORKER,
    SERVER_OF,
    SETTLE_S,
    Fault,
    Storm,
    Strike,
    last_s,
    schedule,
    settle_s,
)

storms = st.builds(
    Storm,
    seconds=st.floats(20, 600),
    strikes=st.integers(0, 60),
    workers=st.integers(2, 5),
    session_s=st.floats(1, 10),
    kinds=st.lists(
        st.sampled_from([fault for fault in Fault if fault is not Fault.POISON]), min_size=1, unique=True
    ).map(tuple),
    poison=st.integers(0, 3),
    lead_s=st.floats(0, 10),
)
seeds = st.integers(0, 2**32)


@given(seed=seeds, storm=storms)
def test_the_same_seed_gives_the_same_storm(seed, storm):
    """A seed is all it takes to replay a run."""
    assert schedule(seed, storm) == schedule(seed, storm)


def test_another_seed_gives_another_storm():
    """Seeds differ in order, times and targets."""
    storm = Storm(seconds=100, strikes=20, workers=3, session_s=6)
    assert len({schedule(seed, storm) for seed in range(50)}) == 50


@given(seed=seeds, storm=storms)
def test_every_kind_appears_as_often_as_the_others(seed, storm):
    """The number asked for, evenly dealt over the kinds asked for, and poison as asked."""
    counts = Counter(strike.fault for strike in schedule(seed, storm))
    assert counts.pop(Fault.POISON, 0) == storm.poison
    assert counts.total() == storm.strikes
    assert set(counts) <= set(storm.kinds)
    times = [counts[kind] for kind in storm.kinds]
    assert max(times) - min(times) <= 1


@given(seed=seeds, storm=storms)
def test_one_worker_is_always_left_alone(seed, storm):
    """While strikes hold some workers another is whole; a worker is not struck again before it had time to start."""
    strikes = schedule(seed, storm)
    on_workers = [strike for strike in strikes if strike.fault in ONE_WORKER]
    for strike in on_workers:
        held = [other for other in on_workers if other.at_s <= strike.at_s < other.at_s + other.lasts_s + SETTLE_S]
        assert len({other.target for other in held}) == len(held) < storm.workers
        assert all(other.target in range(storm.workers) for other in held)


@given(seed=seeds, storm=storms)
def test_all_workers_are_stopped_when_no_other_fault_holds_one(seed, storm):
    """What is done with every worker stopped meets none that is struck, and strikes none before they had time."""
    strikes = schedule(seed, storm)
    for strike in (strike for strike in strikes if strike.fault in ALL_WORKERS):
        held = [
            other
            for other in strikes
            if other is not strike
            and (other.fault in ONE_WORKER or other.fault in ALL_WORKERS)
            and other.at_s < strike.at_s + strike.lasts_s + SETTLE_S
            and strike.at_s < other.at_s + other.lasts_s + SETTLE_S
        ]
        assert held == []


@given(seed=seeds, storm=storms)
def test_a_server_that_is_down_is_not_struck_again(seed, storm):
    """Broker and cache come back, and get time, before the next strike on them."""
    strikes = schedule(seed, storm)
    for server in ("broker", "cache"):
        for one, two in pairwise(strike for strike in strikes if SERVER_OF.get(strike.fault) == server):
            assert two.at_s >= one.at_s + one.lasts_s + settle_s(one.fault)


@given(seed=seeds, storm=storms)
def test_frozen_workers_outlast_their_session_and_everything_ends(seed, storm):
    """A freeze is longer than the session, so that its worker wakes as a zombie; no fault goes on for ever."""
    strikes = schedule(seed, storm)
    assert all(strike.at_s >= storm.lead_s for strike in strikes)
    assert [strike.at_s for strike in strikes] == sorted(strike.at_s for strike in strikes)
    for strike in strikes:
        assert strike.fault is not Fault.FREEZE or strike.lasts_s > storm.session_s
        assert strike.lasts_s <= max(12.0, 2 * storm.session_s)


def test_a_sparse_storm_ends_near_its_time():
    """Where there is time enough, strikes are hardly put off."""
    storm = Storm(seconds=360, strikes=36, workers=3, session_s=6)
    assert all(last_s(schedule(seed, storm)) < 380 for seed in range(200))


@pytest.mark.parametrize(
    ("strikes", "expected"), [((), 0.0), ((Strike(5, Fault.LEAVE, 3), Strike(7, Fault.KILL)), 8.0)]
)
def test_the_end_is_that_of_the_last_fault(strikes, expected):
    """The last to be over is not always the last to begin."""
    assert last_s(strikes) == expected
