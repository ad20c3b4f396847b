"""Fetching from topics that others write to: a record that the Kafka client cannot read stops no reader."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError

_ALONE_MS = 1_000
"""A fetch for one partition has to come back before it is known whether that one can be read."""
_OF_RECORDS = (CorruptRecordException, UnsupportedCodecError)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a record at `offset`. Those behind it in the same batch are unreadable with it."""

    partition: int
    offset: int
    error: Exception


async def fetch(
    consumer: Any, places: Sequence[TopicPartition], timeout_ms: int, *, max_records: int | None = None
) -> dict[TopicPartition, list[Any]]:
    """What aiokafka's `getmany` gives, and an `Unreadable` for what it fails by. Raises `KafkaError` for all else."""
    before = {place: await consumer.position(place) for place in places}
    try:
        fetched: dict[TopicPartition, list[Any]] = await consumer.getmany(
            *places, timeout_ms=timeout_ms, max_records=max_records
        )
    except Exception as error:
        if not _is_of_records(error):
            raise
    else:
        return fetched
    for place, position in before.items():  # what it had taken from others before it failed is lost otherwise
        consumer.seek(place, position)
    alone = {place: await _fetch_alone(consumer, place) for place in places}
    return {place: records for place, records in alone.items() if records}


async def _fetch_alone(consumer: Any, place: TopicPartition) -> list[Any]:
    position = await consumer.position(place)
    try:
        fetched = await consumer.getmany(place, timeout_ms=_ALONE_MS, max_records=1)
    except Exception as error:
        if not _is_of_records(error):
            raise
        consumer.seek(place, position + 1)
        return [Unreadable(place.partition, position, error)]
    return list(fetched.get(place, ()))


def _is_of_records(error: Exception) -> bool:
    """Whether it is about what was fetched, and not about the broker or the way there."""
    return isinstance(error, _OF_RECORDS) or not isinstance(error, (KafkaError, OSError, TimeoutError))
