"""Who works on the requests, and how many wait: so that a sender learns what it waits for."""

from dataclasses import dataclass
from functools import partial

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.kafka.group_answers import committed_offsets, group_members
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.offsets import end_offsets


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
    places = [TopicPartition(topic, partition) for partition in ends]
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with reaching(kafka):
            await start_client(admin)
            members = await ask_coordinator(partial(group_members, admin, kafka.group_id))
            committed = await ask_coordinator(partial(committed_offsets, admin, kafka.group_id, places))
    finally:
        await close_client(admin)
    unanswered = sum(max(0, ends[place.partition] - max(0, committed[place].offset)) for place in places)
    return GroupState(kafka.group_id, len(members), unanswered)
