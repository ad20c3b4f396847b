"""What two looks at a worker's series say of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pelton.commands.top.scraping import Scrape
from pelton.pipeline.wire.contract import CacheOutcome


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker. What is measured between two looks is None at the first, and where nothing happened.

    Rates are by second. `waiting` is in the line; `lanes` has the same by lane, `answers` how many answers came from
    where since the first look. `kafka_away`: Kafka does not answer it. `kv_share` is of its KV pages. `memory_bytes` is
    of the process; those of the GPU are None without one.
    """

    url: str
    state: str
    error: str = ""
    kafka_away: bool = False
    name: str = ""
    model: str = ""
    engine: str = ""
    partitions: int = 0
    running: int = 0
    waiting: int = 0
    waiting_sessions: int = 0
    waiting_quotas: int = 0
    lanes: dict[str, int] | None = None
    backlog: int = 0
    backlog_s: float | None = None
    answered_per_s: float | None = None
    failed_per_s: float | None = None
    tokens_per_s: float | None = None
    step_ms: float | None = None
    rows: float | None = None
    fill: float | None = None
    kv_share: float | None = None
    prefix_hits: float | None = None
    answers: dict[str, int] | None = None
    cached_share: float | None = None
    cache_failures_per_s: float | None = None
    memory_bytes: float | None = None
    gpu_share: float | None = None
    gpu_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all workers that answer. `backlog_s` is the longest of them: a partition has one worker."""

    workers: int
    ready: int
    running: int
    waiting: int
    waiting_sessions: int
    waiting_quotas: int
    backlog: int
    backlog_s: float | None
    answered_per_s: float
    failed_per_s: float
    tokens_per_s: float


def figures(now: Scrape, before: Scrape | None) -> WorkerFigures:
    """Of one worker; `before` None, or of another process that had the port, leaves out what is measured between."""
    if now.error:
        return WorkerFigures(now.url, "gone", now.error)
    if not (info := now.labels("pelton_worker_info")) and now.value("pelton_partitions") is None:
        return WorkerFigures(now.url, "gone", "no worker of Pelton answers there")
    if before is not None and _start(before) != _start(now):
        before = None
    change = _Change(now, before)
    finished = change.by("pelton_requests_finished_total", "code")
    answers = change.by("pelton_cache_requests_total", "outcome")
    failed = None if not change.known else sum(finished.values()) - finished.get("ok", 0.0)
    return WorkerFigures(
        url=now.url,
        state=now.state or "unknown",
        kafka_away=bool(now.value("pelton_kafka_away")),
        name=info.get("worker", ""),
        model=info.get("model", ""),
        engine=info.get("engine", ""),
        partitions=_whole(now.value("pelton_partitions")),
        running=_whole(now.value("pelton_running_requests")),
        waiting=_whole(now.value("pelton_waiting_requests")),
        waiting_sessions=_whole(now.value("pelton_waiting_sessions")),
        waiting_quotas=_whole(now.value("pelton_waiting_quotas")),
        lanes={lane: _whole(count) for lane, count in now.by("pelton_lane_waiting_requests", "lane").items()},
        backlog=_whole(now.value("pelton_backlog_requests")),
        backlog_s=_finite(now.value("pelton_backlog_seconds")),
        answered_per_s=change.rate(finished.get("ok", 0.0)),
        failed_per_s=change.rate(failed),
        tokens_per_s=change.rate(change.of("pelton_generated_tokens_total")),
        step_ms=change.mean("pelton_step_seconds", 1000),
        rows=change.mean("pelton_batch_rows"),
        fill=change.mean("pelton_batch_fill"),
        kv_share=_share(now.value("pelton_kv_pages_used"), now.value("pelton_kv_pages")),
        prefix_hits=_share(change.of("pelton_prefix_hit_tokens_total"), change.of("pelton_prefix_lookup_tokens_total")),
        answers={outcome: _whole(count) for outcome, count in answers.items()},
        cached_share=_share(sum(answers.get(each, 0.0) for each in CacheOutcome if each.saved), sum(answers.values())),
        cache_failures_per_s=change.rate(sum(change.by("pelton_cache_failures_total", "kind").values())),
        memory_bytes=now.value("process_resident_memory_bytes"),
        gpu_share=now.first("pelton_gpu_utilization_ratio"),
        gpu_bytes=now.first("pelton_gpu_memory_used_bytes"),
    )


def totals(workers: Sequence[WorkerFigures]) -> Totals:
    """Their sums."""
    there = [worker for worker in workers if not worker.error]
    longest = [worker.backlog_s for worker in there if worker.backlog_s is not None]
    return Totals(
        workers=len(there),
        ready=sum(worker.state == "ready" for worker in there),
        running=sum(worker.running for worker in there),
        waiting=sum(worker.waiting for worker in there),
        waiting_sessions=sum(worker.waiting_sessions for worker in there),
        waiting_quotas=sum(worker.waiting_quotas for worker in there),
        backlog=sum(worker.backlog for worker in there),
        backlog_s=max(longest, default=None),
        answered_per_s=sum(worker.answered_per_s or 0.0 for worker in there),
        failed_per_s=sum(worker.failed_per_s or 0.0 for worker in there),
        tokens_per_s=sum(worker.tokens_per_s or 0.0 for worker in there),
    )


class _Change:
    """Of counters between two looks."""

    def __init__(self, now: Scrape, before: Scrape | None) -> None:
        self._now = now
        self._before = before
        self.known = before is not None and not before.error

    def of(self, name: str) -> float | None:
        now, before = self._now.value(name), self._before.value(name) if self._before else None
        return None if now is None or before is None else now - before

    def by(self, name: str, label: str) -> dict[str, float]:
        """What was there for the first time has come since."""
        if self._before is None or not self.known:
            return {}
        before = self._before.by(name, label)
        return {value: count - before.get(value, 0.0) for value, count in self._now.by(name, label).items()}

    def rate(self, change: float | None) -> float | None:
        if self._before is None or not self.known or change is None:
            return None
        return change / max(1e-3, self._now.at - self._before.at)

    def mean(self, histogram: str, factor: float = 1.0) -> float | None:
        share = _share(self.of(f"{histogram}_sum"), self.of(f"{histogram}_count"))
        return None if share is None else share * factor


def _start(scrape: Scrape) -> float | None:
    return scrape.value("process_start_time_seconds")


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _whole(count: float | None) -> int:
    """A count; what is none, as any port may say, is no requests."""
    return int(count) if count is not None and math.isfinite(count) else 0


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
