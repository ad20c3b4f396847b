"""A dead-letter topic, read without a group: looking at it changes nothing for anyone."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.signatures import group_secret
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition, Replayed, read_record, unreadable
from pelton.producers.errors import NoProgress
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.fetching import Unreadable, fetch
from pelton.producers.kafka.offsets import end_offsets

PATIENCE_S = 120.0
"""Longer than Kafka lets a transaction stay open by default: what one hides is waited for."""
_POLL_MS = 50
"""Short: aiokafka does not wake us when all it fetched was the end of a transaction."""


@dataclass(frozen=True, slots=True)
class DeadLetterLog:
    """The topic up to `ends`, the next offset of each partition when it was looked at. Made by `look_at`.

    Each method reads anew and holds no letters, so that a topic of any size can be gone through. All raise
    `BrokerUnreachable`, or `NoProgress` after two minutes without a record.
    """

    kafka: KafkaSettings
    topic: str
    ends: Mapping[int, int]

    async def letters(self) -> AsyncGenerator[DeadLetter, None]:
        """Every letter, by rising offset within each partition. Close it (`contextlib.aclosing`) when leaving early."""
        async with contextlib.aclosing(self._read(dict.fromkeys(self.ends, 0))) as records:
            async for record in records:
                if isinstance(record, DeadLetter):
                    yield record

    async def replays(self) -> dict[LetterPosition, Replayed]:
        """The letters that were replayed, each with its last replay."""
        async with contextlib.aclosing(self._read(dict.fromkeys(self.ends, 0))) as records:
            return {record.letter: record async for record in records if isinstance(record, Replayed)}

    async def find(self, place: LetterPosition) -> tuple[DeadLetter, Replayed | None] | None:
        """The letter at `place`, and its last replay; None where no letter lies (any more)."""
        if place.offset >= self.ends.get(place.partition, 0):
            return None
        letter: DeadLetter | None = None
        replayed: Replayed | None = None
        async with contextlib.aclosing(self._read({place.partition: place.offset})) as records:
            async for record in records:
                if isinstance(record, Replayed):
                    replayed = record if record.letter == place else replayed
                elif record.place == place:
                    letter = record
        return None if letter is None else (letter, replayed)

    async def _read(self, starts: Mapping[int, int]) -> AsyncGenerator[DeadLetter | Replayed, None]:
        """What `ends` bounds, from `starts` on: committed records only, and all of them.

        The end is where the topic ends for those who read uncommitted: an open transaction may hide a part of that, and
        is waited for. It is reached by position: transactions leave offsets without records. What cannot be read is
        given as a letter that says so.
        """
        secret = group_secret(self.kafka)
        async with self._consumer(starts) as consumer:
            moved = time.monotonic()
            while left := await self._unread(consumer):
                with reaching(self.kafka):
                    fetched = await fetch(consumer, left, _POLL_MS)
                for place, records in fetched.items():
                    moved = time.monotonic()
                    for record in records:
                        if isinstance(record, Unreadable):
                            yield unreadable(LetterPosition(record.partition, record.offset), record.error)
                        elif record.offset < self.ends[place.partition]:
                            yield read_record(record, secret)
                if time.monotonic() - moved > PATIENCE_S:
                    raise NoProgress(
                        f"Nothing could be read from topic {self.topic}, partition {left[0].partition} for "
                        f"{PATIENCE_S:g} s: either Kafka is away, or somebody's transaction has been open for so long."
                    )

    @contextlib.asynccontextmanager
    async def _consumer(self, starts: Mapping[int, int]) -> AsyncIterator[Any]:
        places = [TopicPartition(self.topic, partition) for partition in starts]
        consumer: Any = AIOKafkaConsumer(
            **self.kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # retention overtook us: go on with what is left
            enable_auto_commit=False,
        )
        try:
            with reaching(self.kafka):
                await start_client(consumer)
                consumer.assign(places)
                firsts = await consumer.beginning_offsets(places)
            for place in places:
                consumer.seek(place, max(firsts[place], starts[place.partition]))
            yield consumer
        finally:
            await stop_consumer(consumer)

    async def _unread(self, consumer: Any) -> list[TopicPartition]:
        """The partitions whose end is not reached."""
        return [place for place in consumer.assignment() if await consumer.position(place) < self.ends[place.partition]]


async def look_at(kafka: KafkaSettings, topic: str) -> DeadLetterLog:
    """The topic as it is now. Raises `BrokerUnreachable` or `TopicMissing`."""
    cluster = await look_up(kafka, topic)
    return DeadLetterLog(kafka, topic, await end_offsets(kafka, topic, cluster.topics[topic].partitions))
