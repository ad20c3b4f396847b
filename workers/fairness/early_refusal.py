"""Requests are refused at once that cannot be answered by their deadline."""

import time
from collections.abc import Callable, Mapping

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.metrics import Metrics, OverloadAction
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.settings.quota import OverloadSettings
from pelton.pipeline.wire import contract
from pelton.workers.fairness.estimate import estimate
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.requests import PreparedRequest
from pelton.workers.sharing.generation import Generation


class EarlyRefusal:
    """Lives on the event loop. `now_s` is Unix time."""

    def __init__(  # noqa: PLR0913  # what it decides by
        self,
        settings: OverloadSettings,
        queue: RequestQueue[Generation],
        speed: SpeedMeter,
        weights: Mapping[str, float],
        metrics: Metrics,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._speed = speed
        self._weights = weights
        self._refused = metrics.overload_actions.labels(OverloadAction.REFUSED_LATE)
        self._now_s = now_s

    def check(self, job: PreparedRequest) -> None:
        """Raises `DeadlineExceeded` for one that is about to join the line and would be too late."""
        deadline_ms, speed = job.delivery.envelope.deadline_ms, self._speed.speed
        if not self._settings.refuse_late or deadline_ms is None or speed is None:
            return
        asked = _as_queued(job)
        running_s = self._speed.left_s(asked.priority, speed)
        expected = estimate(asked, self._queue.waiting(), running_s, _tenant, speed, self._weights)
        left_s = deadline_ms / 1000 - self._now_s()
        if expected.least_s <= left_s * (1 + self._settings.late_margin):
            return
        self._refused.inc()
        raise DeadlineExceeded(
            f"The answer would come in about {expected.seconds:.1f} s, by the speed measured lately "
            f"({speed.tokens_per_s:,.0f} tokens/s), and the request's {contract.DEADLINE} passes in {left_s:.1f} s: "
            "send it with a later deadline, or when less is waiting.",
            param=contract.DEADLINE,
            for_load=True,
        )


def _as_queued(job: PreparedRequest) -> QueuedRequest[Generation]:
    priority = job.delivery.envelope.lane.priority
    return QueuedRequest(Generation(None, job), len(job.prompt), job.max_new_tokens, time.monotonic(), priority)


def _tenant(queued: QueuedRequest[Generation]) -> str:
    return queued.item.job.delivery.envelope.tenant
