"""The fences under which this worker writes into histories: one for each stretch of owning a partition."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from weakref import WeakKeyDictionary

from aiokafka.errors import KafkaError

from pelton.cache.sessions.store import Fence, SessionStore
from pelton.pipeline.offsets import OffsetTracker
from pelton.workers.requests import Delivery

log = logging.getLogger(__name__)


class Fences:
    """Raised when first needed, before any history is read for that stretch. Lives on the event loop."""

    def __init__(self, store: SessionStore, group_id: str, is_member: Callable[[], Awaitable[bool]]) -> None:
        """`is_member` asks the broker: a worker that was frozen past its session must not shut out its successor."""
        self._store = store
        self._group_id = group_id
        self._is_member = is_member
        self._raised: WeakKeyDictionary[OffsetTracker, Fence] = WeakKeyDictionary()
        self._one_at_a_time = asyncio.Lock()

    def of(self, delivery: Delivery) -> Fence | None:
        return self._raised.get(delivery.tracker)

    def drop(self, delivery: Delivery, fence: Fence) -> None:
        """Have it raised anew: somebody else has, or what was sent under it must not come through any more."""
        if self._raised.get(delivery.tracker) == fence:
            del self._raised[delivery.tracker]

    async def raise_for(self, deliveries: Iterable[Delivery]) -> None:
        """Raise what these need and is not raised, if the broker counts us into the group. Does not raise errors."""
        async with self._one_at_a_time:
            sources = {
                delivery.tracker: delivery.record.source
                for delivery in deliveries
                if delivery.tracker not in self._raised
            }
            if not sources or not await self._is_confirmed():
                return
            fences = [Fence.fresh(self._group_id, source.topic, source.partition) for source in sources.values()]
            done = await self._store.raise_fences(fences)
            self._raised.update(
                (tracker, fence) for tracker, fence, ok in zip(sources, fences, done, strict=True) if ok
            )

    async def _is_confirmed(self) -> bool:
        try:
            return await self._is_member()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("not known to be a member of group %s, asking again: %r", self._group_id, error)
            return False
