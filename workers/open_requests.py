"""The open requests: every record that was fetched and is owed a reply, and the one way out for all of them.

Wherever a request is in the worker, it is in this table, until a result for it is on its way to be published or its
partition is lost. So a cancel, a deadline and a revocation are look-ups here, and what still works on a request that
has ended finds that out when it touches it.
"""

import heapq
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol
from weakref import WeakSet

from pelton.pipeline.offsets import OffsetTracker
from pelton.workers.requests import Delivery, Result

SenderId = tuple[bytes, bytes]
"""A tenant, and the correlation id that it gave a request."""
SPARE_DEADLINES = 64
"""Deadlines of ended requests that may be kept beyond one for each open request."""


class ResultSink(Protocol):
    """Where results go."""

    async def put_all(self, items: Iterable[Result], /) -> None: ...


class OpenRequests:
    """Lives on the event loop."""

    def __init__(self, results: ResultSink, leave: Callable[[Delivery], None]) -> None:
        """`leave` is called with each request that goes: it waits for no generation any more."""
        self._results = results
        self._leave = leave
        self._of_partition: dict[OffsetTracker, dict[Delivery, SenderId | None]] = {}
        self._of_sender: dict[SenderId, dict[Delivery, None]] = {}
        self._deadlines: list[tuple[int, int, Delivery]] = []
        self._serial = itertools.count()
        self._lost: WeakSet[OffsetTracker] = WeakSet()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery in self._of_partition.get(delivery.tracker, ())

    def add(self, delivery: Delivery) -> bool:
        """Take a request in; False for one whose partition was lost: it is another worker's to answer."""
        if delivery.tracker in self._lost:
            return False
        deliveries = self._of_partition.setdefault(delivery.tracker, {})
        if delivery in deliveries:
            return True
        self._count += 1
        envelope = delivery.envelope
        # One without an id of its sender's own has its place in Kafka as id, which anybody can guess.
        sender = (envelope.tenant.encode(), envelope.correlation_id) if envelope.id_given else None
        deliveries[delivery] = sender
        if sender is not None:
            self._of_sender.setdefault(sender, {})[delivery] = None
        if envelope.deadline_ms is not None:
            heapq.heappush(self._deadlines, (envelope.deadline_ms, next(self._serial), delivery))
        return True

    async def end(self, results: Iterable[Result]) -> None:
        """End requests with these results, those that have not ended yet. Raises `LingerQueueClosed`."""
        if ended := [result for result in results if self.remove(result.delivery)]:
            await self._results.put_all(ended)

    def remove(self, delivery: Delivery) -> bool:
        """Let a request out, whose result the caller has; False where it has ended already."""
        deliveries = self._of_partition.get(delivery.tracker, {})
        if delivery not in deliveries:
            return False
        self._count -= 1
        sender = deliveries.pop(delivery)
        if not deliveries:
            del self._of_partition[delivery.tracker]
        if sender is not None:
            self._forget_sender(sender, delivery)
        if len(self._deadlines) > self._count + SPARE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self]
            heapq.heapify(self._deadlines)
        self._leave(delivery)
        return True

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget, unanswered, the requests of partitions that were lost, now and whenever more of them come."""
        self._lost.update(lost)
        for delivery in [delivery for tracker in lost for delivery in self._of_partition.get(tracker, ())]:
            self.remove(delivery)

    def sent_as(self, sender: SenderId) -> list[Delivery]:
        """The open requests that a sender gave this id."""
        return list(self._of_sender.get(sender, ()))

    def too_late(self) -> list[Delivery]:
        """The open requests whose deadline has passed, each returned once."""
        late: list[Delivery] = []
        now_ms = time.time() * 1000
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            *_, delivery = heapq.heappop(self._deadlines)
            if delivery in self:
                late.append(delivery)
        return late

    def until_deadline_s(self) -> float:
        """Seconds until the next deadline; infinite where there is none."""
        return max(0.0, self._deadlines[0][0] / 1000 - time.time()) if self._deadlines else math.inf

    def _forget_sender(self, sender: SenderId, delivery: Delivery) -> None:
        del self._of_sender[sender][delivery]
        if not self._of_sender[sender]:
            del self._of_sender[sender]
