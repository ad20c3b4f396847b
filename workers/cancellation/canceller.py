"""Requests that leave before they are answered, wherever in this worker they are: too late, cancelled, or lost."""

import asyncio
import time
from collections.abc import Collection, Iterable

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import RequestQueue
from pelton.workers.cancellation.cancel_topic import Cancels, cancelled
from pelton.workers.cancellation.deadlines import too_late
from pelton.workers.open_requests import OpenRequests, SenderId
from pelton.workers.requests import Delivery, Failed, Result
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.generation import Generation

LOOK_S = 0.25
"""How often deadlines are looked for that came after the last look; those known then are met to the moment."""


class Canceller:
    """Lives on the event loop. A generation that others wait for as well goes on for them."""

    def __init__(
        self,
        open_requests: OpenRequests,
        cancels: Cancels,
        sessions: SessionCoordinator,
        queue: RequestQueue[Generation],
    ) -> None:
        self._open = open_requests
        self._cancels = cancels
        self._sessions = sessions
        self._queue = queue

    async def run(self) -> None:
        """End, for ever, the requests whose deadline passes, and those that have waited for Redis long enough."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._open.until_deadline_s()))
            await self._refuse(self._open.too_late(), too_late("before it was answered"))
            await self._end(self._sessions.give_up(time.monotonic()))

    async def cancel(self, senders: Iterable[SenderId]) -> None:
        """End the requests that these have cancelled."""
        deliveries = (delivery for sender in senders for delivery in self._open.sent_as(sender))
        await self._refuse([delivery for delivery in deliveries if self._cancels.covers(delivery)], cancelled())

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget, unanswered, the requests of partitions that were lost: their new owner answers them."""
        self._open.abandon(lost)
        self._sessions.abandon(lost)
        self._queue.notify()

    async def _refuse(self, deliveries: Iterable[Delivery], error: PeltonError) -> None:
        await self._end([Failed(delivery, error) for delivery in deliveries])

    async def _end(self, results: Collection[Result]) -> None:
        if results:
            await self._open.end(results)
            self._queue.notify()
