"""One owned partition: who may publish for it, what is open, and what waits to be published."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.offsets import BadMetadata, OffsetTracker, Progress
from pelton.workers.delivery.transactions import PartitionWriter, RecordsTooLarge
from pelton.workers.requests import OutgoingReply

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.05
RETRY_MOST_S = 2.0
MAX_REPLIES = 500
"""Endings of one commit: bounds how much is done again when it fails."""


class PartitionPublisher:
    """Runs from the moment the partition is assigned until it is lost.

    First it takes the partition over; only then does `tracker` exist and may records be fetched. Then it publishes what
    `put` brings, as one commit after the other. When a commit fails its outcome is unknown: the partition is taken over
    anew, and what the broker says is committed decides which of the waiting replies are still owed.
    """

    def __init__(
        self,
        partition: TopicPartition,
        outlet: PartitionWriter,
        on_open: Callable[[TopicPartition, Progress | None], None],
        on_published: Callable[[list[OutgoingReply]], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._outlet = outlet
        self._on_open = on_open
        self._on_published = on_published
        self._on_failure = on_failure
        self._pending: list[OutgoingReply] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        self._one_by_one = False
        self.tracker: OffsetTracker | None = None

    def put(self, parcel: OutgoingReply) -> None:
        """Hand over what is to be published; a record that another owner has answered meanwhile is passed over."""
        if self.tracker is None or not self.tracker.is_open(parcel.offset):
            return
        self._pending.append(parcel)
        self._idle.clear()
        self._arrived.set()

    async def settled(self) -> None:
        """Wait until everything handed over is committed."""
        await self._idle.wait()

    async def run(self) -> None:
        """Take over and publish until cancelled."""
        try:
            await self._take_over()
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._pending:
                    if not await self._publish(self._pending[:MAX_REPLIES]):
                        await self._take_over()
                self._idle.set()
        finally:
            await self._outlet.close()

    async def _take_over(self) -> None:
        while True:
            try:
                progress = await self._outlet.open(one_by_one=self._one_by_one)
                break
            except BadMetadata as error:
                log.error("%s cannot be taken over: %s. Reset the group's offset for it.", self._partition, error)  # noqa: TRY400  # the message says it all
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("taking over %s failed, trying again: %r", self._partition, error)
            await asyncio.sleep(self._backoff.next_s())
        self._adopt(progress)
        self._on_open(self._partition, progress)

    def _adopt(self, progress: Progress | None) -> None:
        if self.tracker is None:
            self.tracker = OffsetTracker(progress)
        elif progress is not None:
            self.tracker.reconcile(progress)
        self._pending = [parcel for parcel in self._pending if self.tracker.is_open(parcel.offset)]

    async def _publish(self, parcels: list[OutgoingReply]) -> bool:
        """One commit. False when the partition has to be taken over anew: it failed, or its outcome is unknown."""
        if self.tracker is None:
            return False
        offsets = {parcel.offset for parcel in parcels}
        records = [record for parcel in parcels for record in parcel.records]
        try:
            await self._outlet.publish(records, self.tracker.after(offsets))
        except RecordsTooLarge as error:
            if self._one_by_one:  # now it is certain which
                log.warning("%s (%s): sending their smaller forms", error, self._partition)
                self._pending = [parcel.without(error.records) for parcel in self._pending]
            self._one_by_one = True
            return False
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("publishing for %s failed, taking it over anew: %r", self._partition, error)
            self._on_failure()
            await asyncio.sleep(self._backoff.next_s())
            return False
        self._backoff.reset()
        self.tracker.complete(offsets)
        del self._pending[: len(parcels)]
        self._on_published(parcels)
        back_to_batches, self._one_by_one = self._one_by_one, False
        return not back_to_batches
