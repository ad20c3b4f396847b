"""One owned partition: who may publish for it, what is open, and what waits to be published."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTopicError,
    KafkaError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.offsets import BadMetadata, OffsetTracker, Progress
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.outgoing_batches import RecordsTooLarge
from pelton.workers.delivery.transactions import PartitionWriter, TopicReplaced
from pelton.workers.notices import Notice
from pelton.workers.requests import OutgoingReply

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.05
RETRY_MAX_S = 2.0
MAX_REPLIES = 500
"""Endings of one commit: bounds how much is done again when it fails."""
LOOK_S = 1.0
"""A commit that takes longer than that has its topics looked for, and looked for again each time it has passed."""
MAX_STRIKES = 2
"""A reply that fails so often with no other beside it goes out in another form."""
_OF_RECORDS = (
    CorruptRecordException,
    InvalidTopicError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
"""Errors of Kafka that one record causes for all of its transaction."""


class Redirects(Protocol):
    """Other ways out for replies that cannot be published as they are."""

    async def around_missing(self, replies: Sequence[OutgoingReply]) -> list[OutgoingReply]:
        """The same replies, those whose topic or partition is gone addressed anew. Does not raise."""

    def last_resort(self, reply: OutgoingReply, error: Exception) -> OutgoingReply:
        """Of one that fails alone, as much as cannot fail."""


class _AddressGone(Exception):
    """A topic or partition of a commit under way is gone: it will not come to an end by itself."""


class PartitionPublisher:
    """Runs from the moment the partition is assigned until it is lost.

    First it takes the partition over; only then does `tracker` exist and may records be fetched. Then it publishes what
    `put` brings, as one commit after the other. When a commit fails its outcome is unknown: the partition is taken over
    anew, and what the broker says is committed decides which of the waiting replies are still owed.
    """

    def __init__(  # noqa: PLR0913  # what it publishes through, and whom it notifies
        self,
        partition: TopicPartition,
        outlet: PartitionWriter,
        *,
        on_open: Callable[[TopicPartition, Progress | None], None],
        on_published: Callable[[list[OutgoingReply]], None],
        on_failure: Callable[[], None],
        starting_point: Callable[[Progress | None], Awaitable[Progress | None]],
        is_current: Callable[[str], Awaitable[bool]],
        redirects: Redirects,
    ) -> None:
        """`starting_point` holds what is committed against the log there is, before anything is fetched.

        `is_current` says whether the topic still has this id.
        """
        self._partition = partition
        self._outlet = outlet
        self._on_open = on_open
        self._on_published = on_published
        self._on_failure = on_failure
        self._pending: list[OutgoingReply] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        self._one_by_one = False
        self._starting_point = starting_point
        self._is_current = is_current
        self._redirects = redirects
        # After a failure that one reply may be the cause of, so many are published alone, to find out which.
        self._alone = 0
        self._strikes: Counter[int] = Counter()
        self._trouble = Notice(log)
        self.tracker: OffsetTracker | None = None

    def put(self, outgoing: OutgoingReply) -> None:
        """Hand over what is to be published; a record that another owner has answered meanwhile is passed over."""
        if self.tracker is None or not self.tracker.is_open(outgoing.offset):
            return
        self._pending.append(outgoing)
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
                    if not await self._publish(self._pending[: 1 if self._alone else MAX_REPLIES]):
                        await self._take_over()
                self._idle.set()
        finally:
            await self._outlet.close()

    async def _take_over(self) -> None:
        while True:
            try:
                committed = await self._outlet.open(one_by_one=self._one_by_one)
                start = await self._starting_point(committed)
                # A commit for another log says nothing of what is open here: until the first one of ours, it stays.
                progress = start if self.tracker is None or _is_at(committed, start) else None
                break
            except BadMetadata as error:
                self._trouble.say(
                    "%s cannot be taken over: %s. Reset the group's offset for it.", self._partition, error
                )
            except (KafkaError, OSError, TimeoutError) as error:
                self._trouble.say("taking over %s failed, trying again: %r", self._partition, error)
            await asyncio.sleep(self._backoff.next_s())
        self._adopt(progress)
        self._on_open(self._partition, progress)

    def _adopt(self, progress: Progress | None) -> None:
        if self.tracker is None:
            self.tracker = OffsetTracker(progress)
        elif progress is not None:
            self.tracker.reconcile(progress)
        self._pending = [outgoing for outgoing in self._pending if self.tracker.is_open(outgoing.offset)]

    async def _publish(self, all_outgoing: list[OutgoingReply]) -> bool:
        """One commit. False when the partition has to be taken over anew: it failed, or its outcome is unknown."""
        if self.tracker is None:
            return False
        offsets = {outgoing.offset for outgoing in all_outgoing}
        records = [record for outgoing in all_outgoing for record in outgoing.records]
        try:
            await self._commit(all_outgoing, records, self.tracker.after(offsets))
        except RecordsTooLarge as error:
            if self._one_by_one:  # now it is certain which
                log.warning("%s (%s): sending their smaller forms", error, self._partition)
                self._pending = [outgoing.without(error.records) for outgoing in self._pending]
            self._one_by_one = True
            return False
        except Exception as error:  # noqa: BLE001  # one reply that cannot be sent must not end the worker
            await self._after_failure(all_outgoing, error)
            return False
        self._backoff.reset()
        self._trouble.over("publishing for %s goes on", self._partition)
        self._alone = max(0, self._alone - len(all_outgoing))
        self._strikes.clear()
        self.tracker.complete(offsets)
        del self._pending[: len(all_outgoing)]
        self._on_published(all_outgoing)
        back_to_batches, self._one_by_one = self._one_by_one, False
        return not back_to_batches

    async def _commit(self, all_outgoing: list[OutgoingReply], records: list[OutgoingRecord], after: Progress) -> None:
        """Publish; raises what publishing raises.

        The consumer goes on at its offset in a topic that was made anew. An answer to such a record, committed under
        the old topic's id, would be given once more by the next owner: it is held back until the watch over the logs,
        seconds later, takes the partition over from the start and so ends this publisher.
        """
        try:
            await self._publish_watched(all_outgoing, records, after)
        except TopicReplaced:
            while not await self._is_current(after.topic_id):
                self._trouble.say("topic of %s was made anew: what ran of the old one is kept back", self._partition)
                await asyncio.sleep(LOOK_S)
            raise

    async def _publish_watched(
        self, all_outgoing: list[OutgoingReply], records: list[OutgoingRecord], after: Progress
    ) -> None:
        """While it takes long, see that there is a place for every record."""
        # Asked while the records are on their way: asked before, it cost a fifth of a busy worker's replies per second.
        current = asyncio.ensure_future(self._is_current(after.topic_id))
        publishing = asyncio.ensure_future(self._outlet.publish(records, after, current))
        try:
            while not (await asyncio.wait({publishing}, timeout=LOOK_S))[0]:
                if await self._redirects.around_missing(all_outgoing) != all_outgoing:
                    raise _AddressGone("a topic of its replies is gone")
            publishing.result()
        finally:
            for task in (publishing, current):
                task.cancel()
            await asyncio.gather(publishing, current, return_exceptions=True)

    async def _after_failure(self, all_outgoing: list[OutgoingReply], error: Exception) -> None:
        self._trouble.say("publishing for %s failed, taking it over anew: %r", self._partition, error)
        self._on_failure()
        self._pending = await self._redirects.around_missing(self._pending)
        passing = isinstance(error, (KafkaError, OSError, TimeoutError, _AddressGone))
        if isinstance(error, _OF_RECORDS) or not passing:
            self._single_out(all_outgoing, error)
        await asyncio.sleep(self._backoff.next_s())

    def _single_out(self, all_outgoing: list[OutgoingReply], error: Exception) -> None:
        """Find the reply that cannot be published; one that fails alone, time and again, goes out in another form."""
        if len(all_outgoing) > 1:
            self._alone = len(all_outgoing)
            return
        (outgoing,) = all_outgoing
        self._strikes[outgoing.offset] += 1
        if self._strikes[outgoing.offset] >= MAX_STRIKES:
            self._pending[0] = self._redirects.last_resort(outgoing, error)


def _is_at(committed: Progress | None, start: Progress | None) -> bool:
    """Whether the commit is where to start; an older one does not say of which topic it is."""
    if committed is None or start is None:
        return committed is start
    return replace(committed, topic_id="") == replace(start, topic_id="")
