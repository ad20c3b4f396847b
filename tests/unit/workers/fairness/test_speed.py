"""The speed of the waiting line is measured while something waits, and errs towards too fast."""

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import Completion, Failure, FailureKind, FinishReason
from pelton.workers.fairness.speed import LEAST_S, SAMPLE_S, Speed, SpeedMeter

PROMPT, NEW = 20, 80


def request(priority: int = 0) -> QueuedRequest[None]:
    return QueuedRequest(None, PROMPT, NEW, 0.0, priority)


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def completion(new: int = NEW, prefill_s: float = 0.2, decode_s: float = 1.6) -> Completion:
    return Completion(0, (7,) * new, FinishReason.LENGTH, prefill_s, decode_s)


def measured(rows: int, answers: int, seconds_each: float) -> Speed | None:
    """Of an engine that runs `rows` at once, each of them from end to end in the same time, while more wait."""
    clock = Clock()
    meter = SpeedMeter(clock)
    running = deque(request() for _ in range(rows))
    for each in running:
        meter.joined(each)
    meter.look(waits=True)
    for _ in range(answers):
        clock.now += seconds_each / rows
        meter.left(running.popleft(), completion())
        running.append(request())
        meter.joined(running[-1])
        meter.look(waits=True)
    return meter.speed


@given(st.integers(1, 16), st.integers(20, 400), st.floats(0.5, 4.0))
def test_a_speed_is_never_below_the_true_one(rows: int, answers: int, seconds_each: float) -> None:
    """What ran when the measurement began is counted in full: more than the rest of it, that was to be computed."""
    true = rows * (PROMPT + NEW) / seconds_each
    speed = measured(rows, answers, seconds_each)
    lasted = answers * seconds_each / rows
    if speed is None:
        assert lasted < LEAST_S + SAMPLE_S + seconds_each / rows
    else:
        assert true * (1 - 1e-9) <= speed.tokens_per_s


def test_over_a_minute_the_speed_is_nearly_the_true_one() -> None:
    """By less than what an answer takes of the window."""
    speed = measured(rows=8, answers=1_000, seconds_each=2.0)
    assert speed is not None
    assert 400 <= speed.tokens_per_s <= 400 * (1 + 2.5 / 60)
    assert speed.rows == 8


def test_the_pace_of_one_answer_follows_the_latest() -> None:
    """Seconds per token, and which part of what it may generate an answer does."""
    speed = measured(rows=2, answers=200, seconds_each=2.0)
    assert speed is not None
    assert speed.own_s(PROMPT, NEW) == pytest.approx(0.2 + 1.6)


@pytest.mark.parametrize("waits", [True, False], ids=["for a moment", "never"])
def test_without_a_line_there_is_no_speed(*, waits: bool) -> None:
    """What runs with room to spare says nothing of what the engine can do; nor does a line that is soon gone."""
    clock = Clock()
    meter = SpeedMeter(clock)
    for second in range(60):
        one = request()
        meter.joined(one)
        meter.look(waits=waits and second % 2 == 0)
        clock.now += 1.0
        meter.left(one, completion())
        meter.look(waits=False)
    assert meter.speed is None


def test_what_fails_or_is_not_taken_has_no_pace() -> None:
    """It leaves the engine, and that is all."""
    meter = SpeedMeter(Clock())
    for outcome in (Failure(0, FailureKind.CANCELLED, "gone"), None):
        one = request()
        meter.joined(one)
        meter.left(one, outcome)
    assert math.isclose(meter._used.value, 0.0)
    assert not meter._running


def test_what_runs_is_known_to_its_end() -> None:
    """By the pace of late; what gives its row to a higher priority is not in its way."""
    clock = Clock()
    meter, speed = SpeedMeter(clock), Speed(1_000, 4, prefill_s=0.01, decode_s=0.02, used=1.0)
    meter.joined(request(priority=1))
    clock.now += 1.0
    meter.joined(request())
    clock.now += 0.5
    assert sorted(meter.left_s(0, speed)) == pytest.approx([0.3, 1.3])
    assert meter.left_s(1, speed) == pytest.approx([0.3])
    clock.now += 1.0
    assert sorted(meter.left_s(0, speed)) == pytest.approx([0.0, 0.3])
