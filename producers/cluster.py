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
from aiokafka.errors import KafkaConnectionError, KafkaError

from pipeline.settings import KafkaSettings
from producers.errors import BrokerUnreachable, TopicMissing

TOPIC_PATIENCE_S = 1.0
"""A topic made a moment ago may not be known to every broker yet."""
_ASK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """Kafka's own id for the cluster, and how many partitions each topic asked about has."""

    id: str
    partitions: dict[str, int]


@contextmanager
def reaching(kafka: KafkaSettings) -> Iterator[None]:
    """Around the start of a client. Raises `BrokerUnreachable` for whatever keeps it from Kafka."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        reason = "" if type(error) is KafkaConnectionError else f" ({error!r})"  # that one says no more than we do
        raise BrokerUnreachable(
            f"Kafka cannot be reached at {kafka.bootstrap_servers}{reason}. Start one with `pelton up`, or set "
            "kafka.bootstrap_servers (PELTON_KAFKA__BOOTSTRAP_SERVERS) to where it is."
        ) from error


async def look_up(kafka: KafkaSettings, *topics: str) -> Cluster:
    """Raises `BrokerUnreachable`, or `TopicMissing` when one of `topics` does not exist."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with reaching(kafka):
            await admin.start()
            description = await admin.describe_cluster()
            partitions = await _partitions(admin, topics)
    finally:
        await admin.close()
    missing = [topic for topic in topics if topic not in partitions]
    if missing:
        raise TopicMissing(
            f"Kafka at {kafka.bootstrap_servers} has no topic {', '.join(missing)}: create it, or start a worker with "
            "kafka.create_topics = true."
        )
    return Cluster(str(description.get("cluster_id")), partitions)


async def _partitions(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> dict[str, int]:
    give_up = time.monotonic() + TOPIC_PATIENCE_S
    while True:
        # Asking for all topics, not these: some brokers create a topic that is asked for by name.
        described: list[dict[str, Any]] = await admin.describe_topics()
        found = {topic["topic"]: len(topic["partitions"]) for topic in described if topic["topic"] in topics}
        if len(found) == len(set(topics)) or time.monotonic() > give_up:
            return found
        await asyncio.sleep(_ASK_AGAIN_S)
