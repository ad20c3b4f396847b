"""How much waits in a worker, for its metrics."""

import asyncio
from collections.abc import Sequence

from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.wire.contract import Lane
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.endpoint_metrics import EndpointMetrics
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight

EVERY_S = 0.25


async def keep_gauges(  # noqa: PLR0913  # everything that something waits in
    metrics: Metrics,
    *,
    queue: RequestQueue[Generation],
    single_flight: SingleFlight,
    sessions: SessionCoordinator,
    quotas: QuotaGate,
    speed: SpeedMeter,
    endpoints: Sequence[Endpoint],
) -> None:
    """Set them for ever."""
    shown = EndpointMetrics(metrics, endpoints)
    while True:
        await asyncio.sleep(EVERY_S)
        metrics.waiting_requests.set(len(queue))
        metrics.waiting_tokens.set(queue.tokens)
        for lane in Lane:
            metrics.lane_waiting.labels(lane).set(queue.count(lane.priority))
        metrics.cache_followers.set(single_flight.waiting)
        metrics.waiting_sessions.set(sessions.waiting)
        shown.show()
        metrics.waiting_quotas.set(quotas.waiting)
        if speed.speed is not None:
            metrics.line_speed.set(speed.speed.tokens_per_s)
