"""The compacted topic of batches: made where it is missing and may be made."""

import contextlib

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from pelton.pipeline.settings.loading import Settings
from pelton.producers.errors import TopicMissing
from pelton.producers.kafka.cluster import look_up, reaching


async def ensure_batches_topic(settings: Settings) -> int:
    """Return how many partitions it has. Raises `BrokerUnreachable` or `TopicMissing`."""
    kafka, topic = settings.kafka, settings.serve.batches_topic
    await look_up(kafka, kafka.request_topics[0], kafka.reply_topic)
    try:
        return (await look_up(kafka, topic)).topics[topic].partitions
    except TopicMissing:
        if not kafka.create_topics:
            raise TopicMissing(
                f"Kafka at {kafka.bootstrap_servers} has no topic {topic}: create it with cleanup.policy=compact, or "
                "set kafka.create_topics = true."
            ) from None
    admin = AIOKafkaAdminClient(**kafka.client_options())
    new = NewTopic(topic, kafka.partitions, **kafka.copies, topic_configs={"cleanup.policy": "compact"})
    try:
        with reaching(kafka):
            await admin.start()
            with contextlib.suppress(TopicAlreadyExistsError):
                await admin.create_topics([new])
    finally:
        await admin.close()
    return (await look_up(kafka, topic)).topics[topic].partitions
