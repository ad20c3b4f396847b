"""The line of figures: there when something happens, right about what did, and a warning when others have the CPU."""

import asyncio
import logging
import time

import pytest

from pelton.pipeline.metrics import Metrics
from pelton.workers.figures import SHARED_LINES, Figures, FiguresLog
from pelton.workers.inference.step_clock import StepClock, StepTimes


def test_nothing_happens_nothing_is_written() -> None:
    metrics = Metrics()
    before = Figures.of(metrics, StepTimes())
    assert Figures.of(metrics, StepTimes()).line(before, 10) is None
    metrics.waiting_requests.set(1)
    assert Figures.of(metrics, StepTimes()).line(before, 10) is not None


def test_the_line_has_what_happened_since_the_last() -> None:
    """Counters by their difference, gauges as they are."""
    metrics = Metrics()
    metrics.generated_tokens.inc(1_000)
    before = Figures.of(metrics, StepTimes(100, 5.0, 5.0))
    metrics.running_requests.set(3)
    metrics.waiting_requests.set(7)
    metrics.waiting_sessions.set(1)
    metrics.waiting_quotas.set(2)
    metrics.waiting_tokens.set(4_096)
    metrics.finished.labels("ok").inc(20)
    metrics.finished.labels("model_not_found").inc(2)
    metrics.cache_requests.labels("miss").inc(12)
    metrics.cache_requests.labels("bypass").inc(3)
    metrics.cache_requests.labels("hit-local").inc(5)
    metrics.prompt_tokens.inc(400)
    metrics.cached_tokens.inc(100)
    metrics.generated_tokens.inc(2_500)
    assert Figures.of(metrics, StepTimes(150, 6.0, 6.0)).line(before, 10.0) == (
        "running 3, waiting 10 (4,096 tokens); in 10 s 20 answered with 250.0 new tokens/s, 2 failed, 5 from the "
        "cache, 25% of prompt tokens known; 50 steps of 20.0 ms"
    )


def test_steps_are_timed() -> None:
    """A thread that sleeps in a step has no core meanwhile; one that computes has."""
    clock = StepClock()
    with clock:
        time.sleep(0.05)
    slept = clock.times
    assert slept.steps == 1
    assert slept.wall_s >= 0.05 > 5 * slept.cpu_s
    with clock:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
    assert clock.times.since(slept).cpu_s >= 0.02
    assert clock.seconds == 0


@pytest.mark.parametrize("on_cpu", [True, False])
async def test_a_shared_cpu_is_said_once(on_cpu: bool, caplog: pytest.LogCaptureFixture) -> None:
    """After some intervals in a row; on a GPU the host's thread waits by its nature."""
    clock = StepClock()
    writing = FiguresLog(Metrics(), clock, 0.005, on_cpu=on_cpu)
    task = asyncio.create_task(writing.run())
    with caplog.at_level(logging.INFO, "pelton.workers.figures"):
        async with asyncio.timeout(20):
            while len([line for line in caplog.messages if " steps of " in line]) < 2 * SHARED_LINES:
                clock.times = StepTimes(clock.times.steps + 1, clock.times.wall_s + 1.0, 0.01)
                await asyncio.sleep(0.002)
    task.cancel()
    assert len([line for line in caplog.messages if "the CPU is shared" in line]) == on_cpu
