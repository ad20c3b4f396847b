"""A worker's part in sharing answers: the cache, and the generations that requests share."""

from dataclasses import dataclass

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.tiered import TieredCache
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight

WAITING_PER_PLACE = 4
"""Requests that may wait for the generation of another, for each that may wait in the queue."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """`lease_wait_s` is how long another worker's generation is waited for."""

    cache: TieredCache
    reply_cache: ReplyCache
    single_flight: SingleFlight
    lease_wait_s: float

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> "Sharing":
        """Make it on the loop that uses it. Where the cache is off, Redis is left alone."""
        chosen = settings.cache if settings.cache.enabled else settings.cache.model_copy(update={"redis_url": None})
        cache = TieredCache(chosen, on_failure=lambda kind: metrics.cache_failures.labels(kind).inc())
        for kind in Failure:
            metrics.cache_failures.labels(kind)
        metrics.cache_local_bytes.set_function(lambda: cache.local.size)
        single_flight = SingleFlight(
            max_waiting=WAITING_PER_PLACE * settings.worker.max_waiting_requests,
            leased=chosen.redis_url is not None,
            release=cache.leases.release,
        )
        return cls(cache, ReplyCache(cache, chosen.resend_window_s), single_flight, chosen.lease_wait_ms / 1000)
