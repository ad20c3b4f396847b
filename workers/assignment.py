"""Which partitions are ours now, and what becomes of their open records when that changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRebalanceListener, TopicPartition

from pipeline.offsets import OffsetTracker

log = logging.getLogger(__name__)

FLUSH_LIMIT_S = 10.0
"""A rebalance waits for the slowest member: better to send a reply twice than to hold up the group."""


class Assignment(ConsumerRebalanceListener):
    """The trackers of the partitions we own.

    Rebalances are eager: a join revokes everything for a moment, and most of it comes back. So a revocation only
    flushes what is finished; generation goes on. The assignment that follows tells which partitions are lost; those
    that came back keep their tracker, which knows the records that the rewound consumer fetches a second time.
    """

    def __init__(
        self,
        group_id: str,
        flush: Callable[[], Awaitable[None]],
        abandon: Callable[[set[OffsetTracker]], None],
    ) -> None:
        self.group_id = group_id
        self._flush = flush
        self._abandon = abandon
        self.trackers: dict[TopicPartition, OffsetTracker] = {}

    def owns(self, partition: TopicPartition, tracker: OffsetTracker) -> bool:
        """Whether `tracker` is still the partition's: false once the partition was lost, even if it came back later."""
        return self.trackers.get(partition) is tracker

    def uncommitted(self) -> dict[TopicPartition, int]:
        """The positions that moved since they were last committed."""
        positions = {partition: tracker.uncommitted for partition, tracker in self.trackers.items()}
        return {partition: position for partition, position in positions.items() if position is not None}

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        if not revoked:
            return
        try:
            await asyncio.wait_for(self._flush(), FLUSH_LIMIT_S)
        except TimeoutError:
            log.warning("replies not flushed within %s s of a rebalance: some may be sent twice", FLUSH_LIMIT_S)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        lost = {partition: self.trackers.pop(partition) for partition in self.trackers.keys() - set(assigned)}
        gained = set(assigned) - self.trackers.keys()
        self.trackers.update({partition: OffsetTracker() for partition in gained})
        open_records = sum(tracker.open for tracker in lost.values())
        log.info(
            "assigned %d partitions: %d new, %d lost with %d open records (their new owner answers them)",
            len(assigned), len(gained), len(lost), open_records,
        )  # fmt: skip
        self._abandon(set(lost.values()))
