"""Topics are made where they are missing."""

from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import TopicMissing
from pelton.producers.kafka.cluster import reaching


async def make_missing(kafka: KafkaSettings, topics: Sequence[NewTopic]) -> None:
    """One that another process makes meanwhile is fine. Raises `BrokerUnreachable`, or `TopicMissing` for what cannot
    be made.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with reaching(kafka):
            await start_client(admin)
            there = {found["topic"] for found in await admin.describe_topics()}
            missing = [topic for topic in topics if topic.name not in there]
            response: Any = await admin.create_topics(missing) if missing else None
    finally:
        await close_client(admin)
    for topic, code, message in response.topic_errors if response else ():
        if (error := for_code(code)) not in (NoError, TopicAlreadyExistsError):
            raise TopicMissing(f"Topic {topic} could not be created: {error.__name__} ({message}).")
