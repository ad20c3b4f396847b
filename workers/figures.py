"""A line of figures every few seconds while a worker has something to do, and a warning when it gets too little CPU."""

import asyncio
import logging
import time
from dataclasses import dataclass

from pelton.pipeline.metrics import Metrics
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.inference.step_clock import StepClock, StepTimes
from pelton.workers.notices import Notice

log = logging.getLogger(__name__)

SHARED_FACTOR = 5.0
"""Steps that take this many times the CPU time they need are slow for others' sake."""
SHARED_LINES = 3
"""So many intervals in a row must be like that: a single one is not worth a line."""
_WAITING = ("pelton_waiting_requests", "pelton_waiting_sessions", "pelton_waiting_quotas")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the metrics say at one time; the last five only grow."""

    running: float
    waiting: float
    waiting_tokens: float
    answered: float
    failed: float
    cache_hits: float
    prompt_tokens: float
    cached_tokens: float
    generated_tokens: float
    steps: StepTimes

    @classmethod
    def of(cls, metrics: Metrics, steps: StepTimes) -> "Figures":
        finished = _by_label(metrics, "pelton_requests_finished")
        outcomes = _by_label(metrics, "pelton_cache_requests")

        def value(name: str) -> float:
            return metrics.registry.get_sample_value(name) or 0.0

        return cls(
            running=value("pelton_running_requests"),
            waiting=sum(map(value, _WAITING)),
            waiting_tokens=value("pelton_waiting_tokens"),
            answered=finished.pop("ok", 0.0),
            failed=sum(finished.values()),
            cache_hits=sum(count for outcome, count in outcomes.items() if CacheOutcome(outcome).saved),
            prompt_tokens=value("pelton_prompt_tokens_total"),
            cached_tokens=value("pelton_cached_prompt_tokens_total"),
            generated_tokens=value("pelton_generated_tokens_total"),
            steps=steps,
        )

    def line(self, before: "Figures", seconds: float) -> str | None:
        """What has happened in `seconds` since `before`; None where that is nothing."""
        steps = self.steps.since(before.steps)
        answered, failed = self.answered - before.answered, self.failed - before.failed
        if not (steps.steps or self.running or self.waiting or answered or failed):
            return None
        tokens = self.generated_tokens - before.generated_tokens
        prompts = self.prompt_tokens - before.prompt_tokens
        known = (self.cached_tokens - before.cached_tokens) / prompts if prompts else 0.0
        step_ms = 1000 * steps.wall_s / steps.steps if steps.steps else 0.0
        return (
            f"running {self.running:.0f}, waiting {self.waiting:.0f} ({self.waiting_tokens:,.0f} tokens); "
            f"in {seconds:.0f} s {answered:,.0f} answered with {tokens / seconds:,.1f} new tokens/s, {failed:,.0f} "
            f"failed, {self.cache_hits - before.cache_hits:,.0f} from the cache, {known:.0%} of prompt tokens known; "
            f"{steps.steps:,} steps of {step_ms:,.1f} ms"
        )


class FiguresLog:
    """Writes the line. Lives on the event loop."""

    def __init__(self, metrics: Metrics, clock: StepClock, interval_s: float, *, on_cpu: bool) -> None:
        """With `interval_s` 0 nothing is written. `on_cpu` says that steps are computed by this machine's cores."""
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._on_cpu = on_cpu
        self._slow_lines = 0
        self._shared = Notice(log)

    async def run(self) -> None:
        """Until cancelled."""
        if not self._interval_s:
            await asyncio.Event().wait()
        before, at = Figures.of(self._metrics, self._clock.times), time.monotonic()
        while True:
            await asyncio.sleep(self._interval_s)
            now = time.monotonic()
            figures = Figures.of(self._metrics, self._clock.times)
            if (line := figures.line(before, now - at)) is not None:
                log.info("%s", line)
            if self._on_cpu:
                self._compare(figures.steps.since(before.steps))
            before, at = figures, now

    def _compare(self, steps: StepTimes) -> None:
        """Against the time that the inference thread had a core: what is beyond that it waited for one."""
        if not steps.steps:
            return
        factor = steps.wall_s / max(steps.cpu_s, 1e-6)
        self._slow_lines = self._slow_lines + 1 if factor >= SHARED_FACTOR else 0
        if self._slow_lines >= SHARED_LINES:
            self._shared.say(
                "the CPU is shared: the engine's steps take more than %.0f times the CPU time they need; give the "
                "worker cores of its own, or start fewer workers",
                SHARED_FACTOR,
            )
        elif not self._slow_lines:
            self._shared.over("the engine has the CPU to itself again")


def _by_label(metrics: Metrics, name: str) -> dict[str, float]:
    """The values of a counter with one label, by that."""
    return {
        next(iter(sample.labels.values())): sample.value
        for family in metrics.registry.collect()
        if family.name == name
        for sample in family.samples
        if sample.name == f"{name}_total"
    }
