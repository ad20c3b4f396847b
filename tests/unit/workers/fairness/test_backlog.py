"""How long a backlog takes, by the speed that was measured."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.fairness.backlog import WINDOW_S, BacklogMeter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 50), st.integers(0, 500), st.integers(2, 40))
def test_a_steady_worker_takes_as_long_as_it_says(per_s: int, tokens: int, looks: int) -> None:
    """Whatever its requests take; the time it had nothing to do counts for nothing."""
    clock = Clock()
    meter = BacklogMeter(clock)
    clock.now += 1_000
    waiting = per_s * looks * 2
    meter.look(waiting)
    for _ in range(looks):
        clock.now += 2
        for _ in range(2 * per_s):
            meter.answered(tokens)
        waiting -= 2 * per_s
        backlog = meter.look(waiting)
        assert math.isclose(backlog.seconds, waiting / per_s, abs_tol=1e-9)
        assert math.isclose(backlog.tokens, waiting * tokens)
        assert math.isclose(backlog.tokens_per_second, per_s * tokens)


def test_a_new_speed_is_known_after_a_busy_minute() -> None:
    """What was before it is forgotten."""
    clock = Clock()
    meter = BacklogMeter(clock)
    meter.look(10_000)
    for per_look in [100] * 100 + [10] * (int(WINDOW_S) // 2):
        clock.now += 2
        for _ in range(per_look):
            meter.answered(1)
        backlog = meter.look(1_000)
    assert math.isclose(backlog.seconds, 1_000 / 5, rel_tol=0.05)


def test_nothing_is_said_before_anything_was_answered() -> None:
    """A guess would scale a fleet by chance; no backlog is none at any speed."""
    clock = Clock()
    meter = BacklogMeter(clock)
    assert meter.look(0).seconds == 0
    clock.now += 2
    assert math.isnan(meter.look(5).seconds)


def test_what_is_given_up_is_no_backlog_any_more() -> None:
    """Also before the next look, by which a thousand more may be refused."""
    clock = Clock()
    meter = BacklogMeter(clock)
    meter.look(100)
    clock.now += 2
    for _ in range(20):
        meter.answered(10)
    assert meter.look(80).seconds == 8.0
    for _ in range(60):
        meter.give_up()
    assert meter.seconds == 2.0
    for _ in range(60):
        meter.give_up()
    assert meter.seconds == 0.0
    meter.look(20)
    assert meter.seconds > 0
