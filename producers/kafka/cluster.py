"""The first look at Kafka: is it there, and does it have the topics?

Asked before any client starts, because clients of a missing topic wait long and then fail with less to say.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.causes import client_errors, kafka_cause, who
from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import BrokerUnreachable, TopicMissing

TOPIC_PATIENCE_S = 1.0
"""A topic made a moment ago may not be known to every broker yet."""
_ASK_AGAIN_S = 0.1

_LIMIT = "max.message.bytes"
USUAL_LIMIT = 1_048_588
"""Kafka's own default, for where we may not ask."""


@dataclass(frozen=True, slots=True)
class Topic:
    """How many partitions it has, and the size of the largest record batch it takes, in bytes."""

    partitions: int
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Kafka's own id for the cluster, and the topics asked about."""

    id: str
    topics: dict[str, Topic]


@contextmanager
def reaching(kafka: KafkaSettings) -> Iterator[None]:
    """Around the use of a client. Raises `BrokerUnreachable` for whatever keeps it from Kafka."""
    with client_errors() as logged:
        try:
            yield
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerUnreachable(kafka_cause(kafka, error, logged)) from error


async def look_up(
    kafka: KafkaSettings, *topics: str, maker: str = "a worker with kafka.create_topics = true"
) -> Cluster:
    """Raises `BrokerUnreachable`, or `TopicMissing` when one of `topics`, which the `maker` makes, does not exist."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with reaching(kafka):
            await start_client(admin)
            description = await admin.describe_cluster()
            partitions = await _partitions(admin, topics)
            if missing := [topic for topic in topics if topic not in partitions]:
                hidden = "" if kafka.security_protocol == "PLAINTEXT" else f", or hides it: give {who(kafka)} the ACL"
                raise TopicMissing(
                    f"Kafka at {kafka.bootstrap_servers} has no topic {', '.join(missing)}: create it, or start "
                    f"{maker}{hidden}."
                )
            limits = await _limits(admin, topics)
    finally:
        await close_client(admin)
    found = {topic: Topic(partitions[topic], limits.get(topic, USUAL_LIMIT)) for topic in topics}
    return Cluster(str(description.get("cluster_id")), found)


async def _partitions(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> dict[str, int]:
    give_up = time.monotonic() + TOPIC_PATIENCE_S
    while True:
        # Asking for all topics, not these: some brokers create a topic that is asked for by name.
        described: list[dict[str, Any]] = await admin.describe_topics()
        found = {topic["topic"]: len(topic["partitions"]) for topic in described if topic["topic"] in topics}
        if len(found) == len(set(topics)) or time.monotonic() > give_up:
            return found
        await asyncio.sleep(_ASK_AGAIN_S)


async def _limits(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> dict[str, int]:
    """The topics' limits, without those that we are not allowed to see."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, {_LIMIT: None}) for topic in topics]
    told = [response.to_object() for response in await admin.describe_configs(asked)]
    return {
        resource["resource_name"]: int(entry["config_value"])
        for response in told
        for resource in response["resources"]
        for entry in resource["config_entries"]
    }
