"""From where to where a partition's log reaches, and whether what a group has committed still fits it."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.consumer import METADATA_AGE_MS
from pelton.workers.kafka.topic_identity import TopicIdentity
from pelton.workers.kafka.topic_ids import topic_ids

log = logging.getLogger(__name__)

CONFIRM_S = 1.0
"""A log that seems to end before the commit is looked at again: a leader just elected may not know its end yet."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """The offsets that a log holds: from `start` up to `end`, exclusive."""

    start: int
    end: int


class LogRanges:
    """Asks on a connection of its own: on the one that fetches, an answer would wait for the fetch."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._group_id = kafka.group_id
        self._consumer = AIOKafkaConsumer(**kafka.client_options(), metadata_max_age_ms=METADATA_AGE_MS)
        self._identity = TopicIdentity(self.topic_ids)

    async def start(self) -> None:
        """Raises `KafkaError`."""
        await start_client(self._consumer)

    async def close(self) -> None:
        await self._identity.close()
        await stop_consumer(self._consumer)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where these logs end. Raises `KafkaError`, also for a topic that is gone."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        return found

    async def of(self, partition: TopicPartition) -> LogRange:
        """Raises `KafkaError`."""
        starts = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        return LogRange(starts[partition], ends[partition])

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Kafka's ids of those that exist; nothing where the broker is too old. Raises `KafkaError`."""
        return await topic_ids(self._consumer._client, topics)  # noqa: SLF001  # its public side has no requests

    async def is_current(self, topic: str, topic_id: str) -> bool:
        """Whether what was read of `topic` before the call was of the topic that has the name now. Raises `KafkaError`.

        True where that cannot be known: the topic is gone, or the broker is too old for ids.
        """
        return not topic_id or await self._identity.now(topic) in ("", topic_id)

    async def starting_point(self, partition: TopicPartition, committed: Progress | None) -> Progress:
        """Where to begin. Raises `KafkaError`.

        What is committed beyond the log's end, or for a topic with another id, belongs to another log, as after a
        restore or when the topic was made anew: nothing in this one is known to be answered, so it is read from its
        start.
        """
        found, topic_id = await self._identified(partition)
        if committed is not None and _is_of_another(committed, found, topic_id):
            await asyncio.sleep(CONFIRM_S)
            found, topic_id = await self._identified(partition)
        if committed is None:
            return Progress(found.start, found.start, topic_id=topic_id)
        if not _is_of_another(committed, found, topic_id):
            return replace(committed, topic_id=topic_id or committed.topic_id)
        log.error(
            "Group %s has committed offset %d of topic %s, partition %d, whose log ends at %d: it is another log than "
            "the commit was for. It is read from its start, offset %d; to skip records, set the group's offset.",
            self._group_id, committed.position, *partition, found.end, found.start,
        )  # fmt: skip
        return Progress(found.start, found.start, topic_id=topic_id)

    async def _identified(self, partition: TopicPartition) -> tuple[LogRange, str]:
        return await self.of(partition), (await self.topic_ids([partition.topic])).get(partition.topic, "")


def _is_of_another(committed: Progress, found: LogRange, topic_id: str) -> bool:
    differs = bool(committed.topic_id and topic_id) and committed.topic_id != topic_id
    return differs or committed.horizon > found.end
