"""How many threads compute the steps: one where neighbours hold the others up, all where they do not."""

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.continuous.thread_count import ThreadCount

ROWS = 40


def drive(  # noqa: PLR0913 (what a machine does)
    count: ThreadCount, seconds: float, one: float, both: float, *, dice: random.Random, noise: float = 0.1
) -> float:
    """Steps that take `one` or `both` seconds, for so long; the part of them that one thread computed."""
    spent, steps, single = 0.0, 0, 0
    while spent < seconds:
        took = (one if count.threads == 1 else both) * dice.uniform(1, 1 + noise)
        single += count.threads == 1
        steps += 1
        count.observe(ROWS, took)
        spent += took
    return single / steps


@given(seed=st.integers(0, 2**31), gain=st.floats(1.3, 2.0), noise=st.floats(0, 0.5))
def test_a_quiet_machine_uses_all_and_tries_nothing(seed: int, gain: float, noise: float) -> None:
    """However steps vary by as much as half."""
    assert drive(ThreadCount(2), 60, 0.1 * gain, 0.1, dice=random.Random(seed), noise=noise) == 0


@given(seed=st.integers(0, 2**31), both=st.floats(0.3, 2.0))
def test_one_thread_where_the_others_are_held_up_and_all_once_they_are_free(seed: int, both: float) -> None:
    """Within a few seconds of steps to one, and back within half a minute; in between hardly a step with more."""
    dice, count = random.Random(seed), ThreadCount(2)
    drive(count, 10, 0.17, 0.1, dice=dice)
    drive(count, 15 + 12 * both, 0.2, both, dice=dice)
    assert count.threads == 1 or drive(count, 10 * both, 0.2, both, dice=dice) > 0.5
    assert drive(count, 120, 0.2, both, dice=dice) > 0.9
    drive(count, 40, 0.17, 0.1, dice=dice)
    assert drive(count, 30, 0.17, 0.1, dice=dice) < 0.05


@given(seed=st.integers(0, 2**31))
def test_where_all_stay_faster_trials_are_rare(seed: int) -> None:
    """A machine twice as slow as it was, on which one thread is slower still."""
    dice, count = random.Random(seed), ThreadCount(2)
    drive(count, 10, 0.17, 0.1, dice=dice)
    assert drive(count, 300, 0.4, 0.25, dice=dice) < 0.06


@given(seed=st.integers(0, 2**31), every=st.integers(3, 40), pause=st.floats(1, 1000))
def test_a_program_that_is_stopped_at_times_tries_nothing(seed: int, every: int, pause: float) -> None:
    """By a debugger, a snapshot, a lid: every third step at most, however long."""
    dice, count = random.Random(seed), ThreadCount(2)
    for step in range(1, 400):
        count.observe(ROWS, 0.1 * dice.uniform(1, 1.1) + (pause if step % every == 0 else 0))
        assert count.threads == 2


def test_a_single_core_has_nothing_to_choose() -> None:
    """Nothing is tried, whatever steps take."""
    count = ThreadCount(1)
    for seconds in (0.1, 1.0, 10.0) * 50:
        count.observe(ROWS, seconds)
        assert count.threads == 1


def test_slow_steps_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With what is known of them."""
    count, dice = ThreadCount(2), random.Random(0)
    drive(count, 5, 0.1, 0.1, dice=dice)
    with caplog.at_level(logging.WARNING):
        drive(count, 50, 0.5, 0.5, dice=dice)
    assert len(caplog.records) == 1
    assert "times as long as equal ones" in caplog.text
