"""The compacted topic of batches: made where it is missing and may be made."""

from aiokafka.admin import NewTopic

from pelton.pipeline.settings.loading import Settings
from pelton.producers.errors import TopicMissing
from pelton.producers.kafka.cluster import look_up
from pelton.producers.kafka.new_topics import make_missing


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
    new = NewTopic(topic, kafka.partitions, **kafka.copies, topic_configs={"cleanup.policy": "compact"})
    await make_missing(kafka, [new])
    return (await look_up(kafka, topic)).topics[topic].partitions
