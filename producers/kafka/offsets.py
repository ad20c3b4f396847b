"""Where the request topic ends, partition by partition."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import reaching


async def end_offsets(kafka: KafkaSettings, topic: str, partitions: int) -> dict[int, int]:
    """The next offset of each partition. Raises `BrokerUnreachable`."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with _consumer(kafka, places) as consumer:
        return await _ends(consumer, places)


@asynccontextmanager
async def _consumer(kafka: KafkaSettings, places: list[TopicPartition]) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**kafka.client_options(), auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        with reaching(kafka):
            await start_client(consumer)
            consumer.assign(places)
            yield consumer
    finally:
        await stop_consumer(consumer)


async def _ends(consumer: Any, places: list[TopicPartition]) -> dict[int, int]:
    return {place.partition: offset for place, offset in (await consumer.end_offsets(places)).items()}
