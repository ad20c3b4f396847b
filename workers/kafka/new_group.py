"""A group that has never committed reads a topic from its start: it is said before, as new names may be typos."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import close_client, start_client, stop_consumer
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.kafka.group_answers import committed_offsets
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.group import NONE_COMMITTED

log = logging.getLogger(__name__)

LOOK_S = 5.0


async def warn_of_history(kafka: KafkaSettings) -> None:
    """Log how many records of each request topic the group will answer though it is new there. Never raises."""
    try:
        async with asyncio.timeout(LOOK_S):
            found = await history(kafka)
    except (KafkaError, OSError) as error:  # a time-out is an OSError
        log.debug("not known whether group %s is new: %r", kafka.group_id, error)
        return
    for topic, records in found.items():
        log.warning(
            "Group %s (kafka.group_id) has answered nothing of topic %s yet, and will answer all %d records there, the "
            "oldest first. If another group has answered them, set kafka.group_id to that group's name.",
            kafka.group_id, topic, records,
        )  # fmt: skip


async def history(kafka: KafkaSettings) -> dict[str, int]:
    """Records by request topic, of those that have some and of which the group has committed nothing.

    Marks of transactions count as records. Raises `KafkaError`.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options())
    consumer = AIOKafkaConsumer(**kafka.client_options(), enable_auto_commit=False)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(close_client, admin)
        opened.push_async_callback(stop_consumer, consumer)
        await start_client(admin)
        await start_client(consumer)
        counts = {topic: await _new_to_the_group(kafka, topic, admin, consumer) for topic in kafka.request_topics}
    return {topic: count for topic, count in counts.items() if count}


async def _new_to_the_group(
    kafka: KafkaSettings, topic: str, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer
) -> int:
    (described,) = await admin.describe_topics([topic])
    partitions = [TopicPartition(topic, found["partition"]) for found in described["partitions"]]
    starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    records = sum(ends[place] - starts[place] for place in partitions)
    return records if records and await _is_new(kafka.group_id, partitions, admin) else 0


async def _is_new(group_id: str, partitions: list[TopicPartition], admin: AIOKafkaAdminClient) -> bool:
    committed = await ask_coordinator(partial(committed_offsets, admin, group_id, partitions))
    return all(offset.offset == NONE_COMMITTED for offset in committed.values())
