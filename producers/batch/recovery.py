"""The request topic looked at from outside: where it ends, and what of a run it holds."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.producers.errors import BatchError
from pelton.producers.kafka.fetching import Unreadable, fetch
from pelton.producers.kafka.offsets import _consumer, _ends
from pelton.producers.kafka.request_sender import Acknowledged

_POLL_MS = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A request found on the topic."""

    correlation_id: bytes
    place: Acknowledged


async def stored_since(
    kafka: KafkaSettings, topic: str, partitions: int, start: Mapping[int, int]
) -> AsyncIterator[list[Stored]]:
    """All requests from `start` (offset by partition, else 0) to where the topic ends now.

    Read uncommitted: a request is sent outside transactions, and another sender's open transaction must not hide it.
    Raises `BrokerUnreachable`, or `BatchError` for a topic that ends before `start`.
    """
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with _consumer(kafka, places) as consumer:
        ends = await _ends(consumer, places)
        for place in places:
            first = start.get(place.partition, 0)
            if first > ends[place.partition]:
                raise BatchError(
                    f"Topic {topic}, partition {place.partition} ends at offset {ends[place.partition]}, the journal "
                    f"knows of {first}: the topic was made anew. Move the journal and the output away to start over."
                )
            consumer.seek(place, first)
        while not await _reached(consumer, places, ends):
            for records in (await fetch(consumer, places, _POLL_MS)).values():
                yield [_stored(record) for record in records if not isinstance(record, Unreadable)]  # none of ours


async def _reached(consumer: Any, places: list[TopicPartition], ends: Mapping[int, int]) -> bool:
    return all([await consumer.position(place) >= ends[place.partition] for place in places])


def _stored(record: Any) -> Stored:
    correlation_id = dict(record.headers).get(contract.CORRELATION_ID, b"")
    return Stored(correlation_id, Acknowledged(record.partition, record.offset))
