"""What the page shows, kept up to date from Kafka: the status of jobs, and where their results lie."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.producers.kafka.cluster import reaching
from pelton.producers.reports.assembly.report import JobState, Report
from pelton.producers.reports.client import read_status
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.service.topics import look_at

log = logging.getLogger(__name__)

MAX_JOBS = 10_000
POLL_MS = 1_000
FETCH_S = 15.0
MAX_RECORDS = 500
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 10.0


class JobIndex:
    """Follows the topics while entered. At most `MAX_JOBS` jobs are remembered, the newest."""

    def __init__(self, kafka: KafkaSettings, reports: ReportSettings) -> None:
        self._kafka = kafka
        self._reports = reports
        self._statuses: OrderedDict[str, JobStatus] = OrderedDict()
        self._results: OrderedDict[str, tuple[TopicPartition, int]] = OrderedDict()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Raises `BrokerUnreachable` or `TopicMissing`."""
        partitions = (await look_at(self._kafka, self._reports))[self._reports.status_topic].partitions
        task = asyncio.create_task(self._follow(partitions))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def statuses(self) -> list[JobStatus]:
        """The newest first."""
        return sorted(self._statuses.values(), key=lambda status: -status.created_ms)

    def status(self, job_id: str) -> JobStatus | None:
        return self._statuses.get(job_id)

    async def report(self, job_id: str) -> Report | None:
        """The newest finished report of a job, read from Kafka. Raises `KafkaError`, `OSError` or `TimeoutError`."""
        found = self._results.get(job_id)
        if found is None:
            return None
        place, offset = found
        async with asyncio.timeout(FETCH_S), self._consumer() as consumer:
            consumer.assign([place])
            consumer.seek(place, offset)
            record = await consumer.getone(place)
        return Report.model_validate_json(record.value) if record.offset == offset else None

    async def _follow(self, partitions: int) -> None:
        """From the beginning on, and again from there when Kafka was away."""
        topics = (self._reports.status_topic, self._reports.results_topic)
        places = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while True:
            try:
                async with self._consumer() as consumer:
                    consumer.assign(places)
                    await consumer.seek_to_beginning(*places)
                    while True:
                        self._take_in(await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_RECORDS))
                        backoff.reset()
            except (KafkaError, OSError) as error:
                log.warning("the status of jobs cannot be read, trying again: %r", error)
                await asyncio.sleep(backoff.next_s())

    def _take_in(self, batches: dict[TopicPartition, list[Any]]) -> None:
        for place, records in batches.items():
            for record in records:
                if place.topic == self._reports.status_topic:
                    if (status := read_status(record)) is not None:
                        _remember(self._statuses, status.id, status)
                elif record.value and f'"state":"{JobState.DONE}"'.encode() in record.value[:_STATE_WITHIN]:
                    _remember(self._results, (record.key or b"").decode(errors="replace"), (place, record.offset))

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            with reaching(self._kafka):
                await start_client(consumer)
            yield consumer
        finally:
            await stop_consumer(consumer)


_STATE_WITHIN = 1_000
"""Bytes: a report begins with its version, id, run and state."""


def _remember(kept: OrderedDict[str, Any], name: str, value: Any) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > MAX_JOBS:
        kept.popitem(last=False)
