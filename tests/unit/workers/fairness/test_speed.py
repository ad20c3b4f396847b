"""The speed of the waiting line is measured while something waits, and errs towards too fast."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import Completion, Failure, FailureKind, FinishReason
from pelton.workers.fairness.speed import LEAST_S, SAMPLE_S, Speed, SpeedMeter

PROMPT, NEW = 20, 80
REQUEST = QueuedRequest(None, PROMPT, NEW, since=0.0)


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
    for _ in range(rows):
        meter.joined(REQUEST)
    meter.look(waits=True)
    for _ in range(answers):
        clock.now += seconds_each / rows
        meter.left(REQUEST, completion())
        meter.joined(REQUEST)
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
        meter.joined(REQUEST)
        meter.look(waits=waits and second % 2 == 0)
        clock.now += 1.0
        meter.left(REQUEST, completion())
        meter.look(waits=False)
    assert meter.speed is None


def test_what_fails_or_is_not_taken_has_no_pace() -> None:
    """It leaves the engine, and that is all."""
    meter = SpeedMeter(Clock())
    meter.joined(REQUEST)
    meter.left(REQUEST, Failure(0, FailureKind.CANCELLED, "gone"))
    assert math.isclose(meter._used.value, 0.0)
    meter.joined(REQUEST)
    meter.left(REQUEST)
    assert meter._inside == 0
