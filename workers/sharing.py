"""A worker's part in sharing answers with itself and with others."""

from dataclasses import dataclass

from cache.tiered import TieredCache
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from pipeline.waiting import WaitingLine
from workers.clearance import Clearance
from workers.flights import Flights
from workers.jobs import Ending, Job
from workers.recall import Recall

FOLLOWERS_PER_PLACE = 4
"""Requests that may wait for the answer to another, for each that may wait in the line."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The cache, and what stands between it and the requests."""

    cache: TieredCache
    recall: Recall
    flights: Flights
    clearance: Clearance

    @classmethod
    def of(cls, settings: Settings, line: WaitingLine[Job], endings: Handoff[Ending], metrics: Metrics) -> "Sharing":
        """Make it on the loop that uses it. Where the cache is off, Redis is left alone."""
        chosen = settings.cache if settings.cache.enabled else settings.cache.model_copy(update={"redis_url": None})
        cache = TieredCache(chosen, on_failure=lambda kind: metrics.cache_failures.labels(kind).inc())
        metrics.cache_local_bytes.set_function(lambda: cache.local.size)
        flights = Flights(
            most_waiting=FOLLOWERS_PER_PLACE * settings.worker.max_waiting_requests,
            leased=chosen.redis_url is not None,
            release=cache.leases.release,
        )
        clearance = Clearance(flights, cache.leases, line, endings, chosen.lease_wait_ms / 1000)
        return cls(cache, Recall(cache, chosen.resend_window_s), flights, clearance)
