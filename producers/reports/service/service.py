"""The job service as a member of its group: which partitions of jobs are ours, and a processor for each."""

import secrets
import socket
from collections.abc import Callable

from aiokafka import TopicPartition

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.partition_shares import PartitionShares, share
from pelton.producers.kafka.service_group import ServiceGroup
from pelton.producers.reports.service.partition import SPARE_BYTES, PartitionProcessor
from pelton.producers.reports.service.topics import ensure_topics, look_at


async def serve(
    kafka: KafkaSettings,
    reports: ReportSettings,
    on_ready: Callable[[], None] = lambda: None,
    traces: Traces | None = None,
) -> None:
    """Make the topics that are missing, join the group, and work until it is cancelled.

    `on_ready` is called when the group has given this service its partitions for the first time. Any number of services
    share the partitions. Raises `BrokerUnreachable`, `TopicMissing` or `ReportError` at the start, and later the error
    of a processor that failed by a fault of ours.
    """
    await ensure_topics(kafka, reports)
    topics = await look_at(kafka, reports)
    request_topic = kafka.request_topics[0]
    requests = (await look_up(kafka, request_topic)).topics[request_topic]
    client_id = f"reports-{socket.gethostname()}-{secrets.token_hex(4)}"
    group = ServiceGroup(kafka, reports.group_id, client_id)

    def processor(place: TopicPartition) -> PartitionProcessor:
        largest = topics[reports.results_topic].max_message_bytes - SPARE_BYTES
        return PartitionProcessor(
            kafka, reports, group, place.partition, requests=requests, max_bytes=largest, traces=traces
        )

    try:
        with reaching(kafka):
            await group.start()
        shares = PartitionShares(processor, on_ready)
        await share(kafka, [reports.jobs_topic], shares, group_id=reports.group_id, client_id=client_id)
    finally:
        await group.close()
