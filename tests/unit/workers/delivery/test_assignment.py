"""Partitions that come back from a rebalance go on where they were, whatever the group has committed."""

import asyncio
from typing import Any, cast

from aiokafka import TopicPartition

from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.workers.delivery.assignment import Assignment

KEPT, LOST, NEW = (TopicPartition("requests", number) for number in range(3))


class Publisher:
    """Takes its partition over when it is told to."""

    def __init__(self) -> None:
        self.tracker: OffsetTracker | None = None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def settled(self) -> None:
        pass


async def test_what_comes_back_is_fetched_from_where_its_tracker_is() -> None:
    """From the lowest record that it has not seen; what is not taken over yet, or is new, begins by its take-over."""
    made: dict[TopicPartition, Publisher] = {}
    resumed: list[tuple[TopicPartition, int]] = []

    def publisher_of(partition: TopicPartition) -> Any:
        return made.setdefault(partition, Publisher())

    async def flush() -> None:
        pass

    assignment = Assignment(
        publisher_of, flush, lambda _: None, lambda partition, tracker: resumed.append((partition, tracker.fetch_from))
    )
    await assignment.on_partitions_assigned([KEPT, LOST])
    await assignment.on_partitions_revoked([KEPT, LOST])
    await assignment.on_partitions_assigned([KEPT, LOST])
    assert resumed == []
    for publisher in made.values():
        publisher.tracker = OffsetTracker(Progress(3, 9, (3, 5), topic_id="new"))
    cast(OffsetTracker, made[KEPT].tracker).admit(3)
    await assignment.on_partitions_assigned([KEPT, NEW])
    assert resumed == [(KEPT, 5)]
    await assignment.close()
