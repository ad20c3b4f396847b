"""Which partitions are ours now, and what becomes of their open records when that changes."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRebalanceListener, TopicPartition

from pelton.pipeline.offsets import OffsetTracker
from pelton.workers.delivery.partition_publisher import PartitionPublisher
from pelton.workers.requests import Delivery

log = logging.getLogger(__name__)

FLUSH_LIMIT_S = 5.0
"""A rebalance waits for its slowest member: past this, what is finished is published after it, if still ours."""


class Assignment(ConsumerRebalanceListener):
    """The publishers of the partitions we own.

    Rebalances are eager: a join revokes everything for a moment, and most of it comes back. So a revocation only
    flushes what is finished; generation goes on. The assignment that follows tells which partitions are lost; those
    that came back keep their publisher and their tracker, and are fetched from where the tracker is. The consumer would
    begin at what the group has committed, which may be for another log: until something of a topic that was made anew
    is committed, it is for the old one. Nothing is awaited when partitions are assigned, since no heartbeat is sent
    meanwhile.
    """

    def __init__(
        self,
        publisher_of: Callable[[TopicPartition], PartitionPublisher],
        flush: Callable[[], Awaitable[None]],
        abandon: Callable[[set[OffsetTracker]], None],
        resume: Callable[[TopicPartition, OffsetTracker], None],
    ) -> None:
        """`resume` has a partition fetched from where its tracker is."""
        self._publisher_of = publisher_of
        self._flush = flush
        self._abandon = abandon
        self._resume = resume
        self._publishers: dict[TopicPartition, PartitionPublisher] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error of a publisher that ended by an error of ours."""

    def fetchable(self) -> list[TopicPartition]:
        """The partitions that are taken over and have room for more open records."""
        return [
            partition
            for partition, publisher in self._publishers.items()
            if publisher.tracker is not None and not publisher.tracker.full
        ]

    def tracker(self, partition: TopicPartition) -> OffsetTracker | None:
        """The partition's tracker, None while it is not ours to fetch from."""
        publisher = self._publishers.get(partition)
        return publisher.tracker if publisher is not None else None

    def publisher(self, delivery: Delivery) -> PartitionPublisher | None:
        """Who publishes a delivery's ending; None when its partition was lost, even if it came back since."""
        source = delivery.record.source
        publisher = self._publishers.get(TopicPartition(source.topic, source.partition))
        return publisher if publisher is not None and publisher.tracker is delivery.tracker else None

    async def settled(self) -> None:
        """Wait until all that was handed to the publishers is committed."""
        await asyncio.gather(*(publisher.settled() for publisher in self._publishers.values()))

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        if not revoked:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_LIMIT_S):
                await self._flush()
                await self.settled()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        lost = self._publishers.keys() - set(assigned)
        gained = set(assigned) - self._publishers.keys()
        trackers = {tracker for partition in lost if (tracker := self.tracker(partition)) is not None}
        for partition in lost:
            self._end(partition)
        for partition, tracker in self.trackers().items():
            self._resume(partition, tracker)
        for partition in gained:
            self._begin(partition)
        log.info(
            "assigned %d partitions: %d new, %d lost with %d open records (their new owner answers them)",
            len(assigned),
            len(gained),
            len(lost),
            sum(tracker.open for tracker in trackers),
        )
        self._abandon(trackers)

    def trackers(self) -> dict[TopicPartition, OffsetTracker]:
        """What was read and answered of each partition that is taken over."""
        owned = {partition: publisher.tracker for partition, publisher in self._publishers.items()}
        return {partition: tracker for partition, tracker in owned.items() if tracker is not None}

    def restart(self, partition: TopicPartition) -> None:
        """Forget what is known of a partition, and what is open of it, and take it over as if it were new."""
        tracker = self.tracker(partition)
        self._end(partition)
        self._begin(partition)
        self._abandon({tracker} if tracker is not None else set())

    def _begin(self, partition: TopicPartition) -> None:
        publisher = self._publishers[partition] = self._publisher_of(partition)
        self._tasks[partition] = asyncio.create_task(publisher.run())
        self._tasks[partition].add_done_callback(self._notice)

    async def close(self) -> None:
        """End all publishers."""
        for partition in list(self._publishers):
            self._end(partition)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _notice(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    def _end(self, partition: TopicPartition) -> None:
        del self._publishers[partition]
        task = self._tasks.pop(partition)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
