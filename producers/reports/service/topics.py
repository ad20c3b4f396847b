"""The service's topics: made where they are missing, and looked at before anything starts."""

import asyncio

from aiokafka.admin import NewTopic

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.producers.kafka.cluster import Topic, look_up
from pelton.producers.kafka.new_topics import make_missing
from pelton.producers.reports.errors import ReportError

_DAY_MS = 86_400_000
_SPARE_BYTES = 100_000
"""For headers and what a report has beside its sources."""
_ENSURE_S = 30.0


async def ensure_topics(kafka: KafkaSettings, reports: ReportSettings) -> None:
    """Create what is missing. Raises `BrokerUnreachable`, `TopicMissing` for what cannot be created, or `ReportError`
    where the topics' numbers of partitions differ.
    """
    await make_missing(kafka, [_new(topic, kafka, reports) for topic in reports.topics()])
    async with asyncio.timeout(_ENSURE_S):
        await look_at(kafka, reports)


async def look_at(kafka: KafkaSettings, reports: ReportSettings) -> dict[str, Topic]:
    """Raises `BrokerUnreachable`, `TopicMissing`, or `ReportError` where the numbers of partitions differ."""
    topics = (await look_up(kafka, *reports.topics(), maker="`pelton reports serve`, which makes it")).topics
    counts = {name: topic.partitions for name, topic in topics.items()}
    if len(set(counts.values())) > 1:
        raise ReportError(
            "The topics of the report service must have the same number of partitions, but have "
            + ", ".join(f"{name} {count}" for name, count in counts.items())
            + ". Make them anew."
        )
    return topics


def _new(topic: str, kafka: KafkaSettings, reports: ReportSettings) -> NewTopic:
    keep_ms = str(reports.keep_days * _DAY_MS)
    configs = {"retention.ms": keep_ms}
    if topic in (reports.status_topic, reports.sections_topic):
        configs["cleanup.policy"] = "compact,delete"
    if topic in (reports.jobs_topic, reports.results_topic):
        configs["max.message.bytes"] = str(reports.max_job_bytes + _SPARE_BYTES)
    if topic in (reports.jobs_topic, reports.cancels_topic):
        configs["message.timestamp.type"] = "LogAppendTime"  # a cancel takes back what was submitted before it
    return NewTopic(topic, reports.partitions, **kafka.copies, topic_configs=configs)
