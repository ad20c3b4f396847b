"""Who works on the requests, and how many wait: so that a sender learns what it waits for."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import start_client
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.offsets import end_offsets

_ATTEMPTS = 6
_ASK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class GroupState:
    """Workers in the group now, and records of the request topic that it has not committed."""

    group_id: str
    workers: int
    unanswered: int

    def __str__(self) -> str:
        waiting = f"{self.unanswered:,} request{'' if self.unanswered == 1 else 's'} not answered yet"
        if not self.workers:
            return (
                f"no worker is in the group {self.group_id}, {waiting}: start one with `pelton worker`; one that loads "
                "its model joins when that is done"
            )
        return f"{self.workers} worker{'' if self.workers == 1 else 's'} in the group {self.group_id}, {waiting}"


async def group_state(kafka: KafkaSettings, topic: str) -> GroupState:
    """Ask the broker. Raises `BrokerUnreachable`, also where it does not let us see the group, or `TopicMissing`."""
    partitions = (await look_up(kafka, topic)).topics[topic].partitions
    ends = await end_offsets(kafka, topic, partitions)
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with reaching(kafka):
            await start_client(admin)
            workers, committed = await _seen(
                admin, kafka.group_id, [TopicPartition(topic, partition) for partition in ends]
            )
    finally:
        await admin.close()
    positions = {place.partition: max(0, found.offset) for place, found in committed.items()}
    unanswered = sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
    return GroupState(kafka.group_id, workers, unanswered)


async def _seen(admin: AIOKafkaAdminClient, group_id: str, places: list[TopicPartition]) -> tuple[int, dict[Any, Any]]:
    """Members, and what is committed; asked again where the group's broker is not chosen yet, as in a new cluster."""
    for _ in range(_ATTEMPTS):
        try:
            return await _members(admin, group_id), await admin.list_consumer_group_offsets(group_id, partitions=places)
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise
            await asyncio.sleep(_ASK_AGAIN_S)
    return await _members(admin, group_id), await admin.list_consumer_group_offsets(group_id, partitions=places)


async def _members(admin: AIOKafkaAdminClient, group_id: str) -> int:
    answers: list[Any] = await admin.describe_consumer_groups([group_id])
    _, _, _, _, _, members, *_ = answers[0].groups[0]
    return len(members)
