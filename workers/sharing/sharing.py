"""A worker's part in sharing answers with itself and with others."""

from dataclasses import dataclass

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.tiered import TieredCache
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.loading import Settings
from pelton.workers.requests import PreparedRequest, Result
from pelton.workers.sharing.lease_gate import LeaseGate
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight

FOLLOWERS_PER_PLACE = 4
"""Requests that may wait for the answer to another, for each that may wait in the line."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The cache, and what stands between it and the requests."""

    cache: TieredCache
    recall: ReplyCache
    flights: SingleFlight
    clearance: LeaseGate

    @classmethod
    def of(
        cls, settings: Settings, line: RequestQueue[PreparedRequest], endings: LingerQueue[Result], metrics: Metrics
    ) -> "Sharing":
        """Make it on the loop that uses it. Where the cache is off, Redis is left alone."""
        chosen = settings.cache if settings.cache.enabled else settings.cache.model_copy(update={"redis_url": None})
        cache = TieredCache(chosen, on_failure=lambda kind: metrics.cache_failures.labels(kind).inc())
        for kind in Failure:
            metrics.cache_failures.labels(kind)
        metrics.cache_local_bytes.set_function(lambda: cache.local.size)
        flights = SingleFlight(
            most_waiting=FOLLOWERS_PER_PLACE * settings.worker.max_waiting_requests,
            leased=chosen.redis_url is not None,
            release=cache.leases.release,
        )
        clearance = LeaseGate(flights, cache.leases, line, endings, chosen.lease_wait_ms / 1000)
        return cls(cache, ReplyCache(cache, chosen.resend_window_s), flights, clearance)
