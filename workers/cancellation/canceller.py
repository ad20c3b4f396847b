"""Requests that leave before they are answered, wherever in this worker they are: too late, cancelled, or lost."""

import asyncio
import time
from collections.abc import Collection, Iterable
from itertools import chain

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.workers.cancellation.cancel_topic import Cancels, cancelled
from pelton.workers.cancellation.deadlines import is_too_late, too_late
from pelton.workers.inference.thread import Inference
from pelton.workers.requests import Delivery, Failed, PreparedRequest, Result
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.single_flight import SingleFlight

SWEEP_S = 0.25
"""How often all is searched for requests whose deadline has passed, or that were cancelled while on their way from one
place to the next."""


class Canceller:
    """Lives on the event loop."""

    def __init__(  # noqa: PLR0913  # the places where a request may be, and the way out
        self,
        *,
        line: RequestQueue[PreparedRequest],
        flights: SingleFlight,
        inference: Inference,
        sessions: SessionCoordinator,
        cancels: Cancels,
        endings: LingerQueue[Result],
        metrics: Metrics,
    ) -> None:
        self._line = line
        self._flights = flights
        self._inference = inference
        self._sessions = sessions
        self._cancels = cancels
        self._endings = endings
        self._metrics = metrics

    async def sweep(self) -> None:
        """Answer, for ever, the requests whose deadline passes while they wait, and those that were cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._expire(time.monotonic())
            await self.cancel()
            self._metrics.waiting_requests.set(len(self._line))
            self._metrics.waiting_tokens.set(self._line.tokens)
            self._metrics.cache_followers.set(self._flights.waiting)
            self._metrics.waiting_sessions.set(self._sessions.waiting)

    async def cancel(self) -> None:
        """End the requests that are cancelled. A generation that others wait for as well goes on for them."""
        if not self._cancels:
            return
        covers = self._cancels.covers
        waiting = self._line.remove_if(lambda place: covers(place.item.ticket))
        following = self._flights.remove_if(lambda place: covers(place.item.ticket))
        out = {place.item.ticket for place in waiting}
        parted = self._flights.disown(lambda place: covers(place.item.ticket) and place.item.ticket not in out)
        retrying = self._inference.cancel(lambda job: covers(job.ticket) and not self._flights.disowned(job.ticket))
        await self._refuse([*waiting, *following, *retrying], self._sessions.remove_if(covers), cancelled())
        await self._endings.put_all(Failed(ticket, cancelled(), goes_on=True) for ticket in parted)

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget, unanswered, the requests of partitions that were lost: their new owner answers them."""
        self._line.remove_if(lambda place: place.item.ticket.tracker in lost)
        self._inference.abandon(lambda job: job.ticket.tracker in lost)
        self._flights.abandon(lost)
        self._sessions.abandon(lost)

    async def _expire(self, now: float) -> None:
        waiting = self._line.remove_expired(now)
        following = self._flights.remove_if(lambda place: place.is_expired(now))
        in_sessions = self._sessions.remove_if(is_too_late)
        await self._refuse([*waiting, *following], in_sessions, too_late("while it waited"))
        await self._endings.put_all(self._sessions.give_up(now))

    def stop(self, ticket: Delivery) -> None:
        """End a generation whose answer nobody waits for any more."""
        if self._inference.cancel(lambda job: job.ticket is ticket):
            self._flights.failed(ticket)

    async def _refuse(
        self, places: Iterable[QueuedRequest[PreparedRequest]], tickets: Iterable[Delivery], error: PeltonError
    ) -> None:
        everywhere = chain((place.item.ticket for place in places), tickets)
        await self._endings.put_all(Failed(ticket, error) for ticket in everywhere)
