"""Committed replies of a span of time, or the newest ones, with what they say of experiments."""

import heapq
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.ab.observations import Observation, observation
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.fetching import Unreadable, fetch

_POLL_MS = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """Replies from `since_ms` (Unix milliseconds) up to `until_ms`, exclusive, and no more than the `last` newest."""

    since_ms: int = 0
    until_ms: int | None = None
    last: int | None = None

    def holds(self, timestamp_ms: int) -> bool:
        return timestamp_ms >= self.since_ms and (self.until_ms is None or timestamp_ms < self.until_ms)


async def read_observations(kafka: KafkaSettings, topics: Sequence[str], span: Span) -> list[Observation]:
    """What the topics hold now, of the span. Raises `BrokerUnreachable` or `TopicMissing`."""
    cluster = await look_up(kafka, *topics)
    places = [TopicPartition(name, number) for name in topics for number in range(cluster.topics[name].partitions)]
    found: list[tuple[int, int, Observation]] = []
    serial = itertools.count()  # of two of the same time
    with reaching(kafka):
        async with _consumer(kafka, places) as consumer:
            async for record in _records(consumer, places, span):
                seen = observation(dict(record.headers), record.value)
                if seen is None:
                    continue
                found.append((record.timestamp, next(serial), seen))
                if span.last is not None and len(found) > 2 * span.last:
                    found = heapq.nlargest(span.last, found)
    newest = found if span.last is None else heapq.nlargest(span.last, found)
    return [seen for _, _, seen in newest]


async def _records(consumer: Any, places: Sequence[TopicPartition], span: Span) -> AsyncIterator[Any]:
    ends = await consumer.end_offsets(places)
    starts = await consumer.offsets_for_times(dict.fromkeys(places, span.since_ms))
    for place in places:
        start = starts.get(place)
        consumer.seek(place, ends[place] if start is None else start.offset)
    while left := [place for place in places if await consumer.position(place) < ends[place]]:
        for place, records in (await fetch(consumer, left, _POLL_MS)).items():
            for record in records:
                if not isinstance(record, Unreadable) and record.offset < ends[place] and span.holds(record.timestamp):
                    yield record


@asynccontextmanager
async def _consumer(kafka: KafkaSettings, places: Sequence[TopicPartition]) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await start_client(consumer)
        consumer.assign(places)
        yield consumer
    finally:
        await stop_consumer(consumer)
