"""Ask for reports: submit a job, follow it, list what there is, take one back."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pelton.pipeline.kafka.clients import start_client, stop_consumer, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.wire import contract
from pelton.producers.errors import ClientNotOpen, NoProgress, SendFailed
from pelton.producers.kafka.cluster import reaching
from pelton.producers.reports.assembly.report import JobState, Report
from pelton.producers.reports.errors import JobInvalid, ReportError
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.service.topics import look_at
from pelton.producers.reports.spec.model import JobSpec

POLL_MS = 500


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that Kafka has: where to look for what becomes of it. `starts` are offsets of status and results."""

    job_id: str
    correlation_id: bytes
    run: str
    partition: int
    starts: dict[TopicPartition, int]


class ReportClient:
    """Talks to the job service over Kafka. `async with ReportClient(kafka, reports) as client:`"""

    def __init__(self, kafka: KafkaSettings, reports: ReportSettings) -> None:
        self._kafka = kafka
        self._reports = reports
        self._partitions = 0
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        """Raises `BrokerUnreachable` or `TopicMissing`."""
        topics = await look_at(self._kafka, self._reports)
        self._partitions = topics[self._reports.jobs_topic].partitions
        self._producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            enable_idempotence=True,
            max_request_size=topics[self._reports.jobs_topic].max_message_bytes,
        )
        try:
            with reaching(self._kafka):
                await start_client(self._producer)
        except BaseException:
            await stop_producer(self._producer)
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await stop_producer(self._producer)

    async def submit(self, job: JobSpec, *, tenant: str | None = None) -> Submitted:
        """Publish a job that has its sections and sources in it (`read_job`).

        Raises `JobInvalid`, `SendFailed` or `ClientNotOpen`.
        """
        if self._producer is None:
            raise ClientNotOpen("ReportClient")
        reports, job_id, correlation_id = self._reports, job.identity, secrets.token_hex(16).encode()
        headers = [(contract.CORRELATION_ID, correlation_id)]
        if tenant is not None:
            headers.append((contract.TENANT, tenant.encode()))
        starts = await self._ends(reports.status_topic, reports.results_topic)
        value = orjson.dumps(job.model_dump(mode="json", exclude_none=True))
        try:
            # First, so that it never stands after what the service says of the job.
            await self._producer.send_and_wait(reports.status_topic, _queued(job).encode(), job_id.encode())
            sent = await self._producer.send_and_wait(reports.jobs_topic, value, job_id.encode(), headers=headers)
        except MessageSizeTooLargeError:
            raise JobInvalid(
                f"Job {job_id} has {len(value):,} bytes with its sources, more than topic {reports.jobs_topic} takes: "
                "leave out sources, or have reports.max_job_bytes and the topic's max.message.bytes raised."
            ) from None
        except KafkaError as error:
            raise SendFailed(f"Kafka does not take jobs on topic {reports.jobs_topic}: {error!r}.") from error
        run = f"{reports.jobs_topic}-{sent.partition}-{sent.offset}"
        return Submitted(job_id, correlation_id, run, sent.partition, starts)

    async def wait(
        self,
        submitted: Submitted,
        on_status: Callable[[JobStatus], None] = lambda _: None,
        timeout_s: float | None = None,
    ) -> Report:
        """The job's report, also of one that failed. `on_status` is called with each change.

        Raises `NoProgress` after `timeout_s` seconds without any.
        """
        reports = self._reports
        places = [
            TopicPartition(reports.status_topic, submitted.partition),
            TopicPartition(reports.results_topic, submitted.partition),
        ]
        async with self._reader(places) as reader:
            for place in places:
                reader.seek(place, submitted.starts[place])
            loop = asyncio.get_running_loop()
            moved = loop.time()
            while timeout_s is None or loop.time() - moved < timeout_s:
                for place, records in (await reader.getmany(timeout_ms=POLL_MS)).items():
                    for record in records:
                        if place.topic == reports.results_topic:
                            if dict(record.headers).get(contract.CORRELATION_ID) == submitted.correlation_id:
                                return Report.model_validate_json(record.value)
                        elif (status := read_status(record)) is not None and status.run == submitted.run:
                            moved = loop.time()
                            on_status(status)
        raise NoProgress(
            f"Job {submitted.job_id} has not moved for {timeout_s:g} s: do `pelton reports serve` and a worker run? "
            "Ask for it again later: finished sections are kept."
        )

    async def run(
        self,
        job: JobSpec,
        on_status: Callable[[JobStatus], None] = lambda _: None,
        timeout_s: float | None = None,
    ) -> Report:
        """Submit and wait. Raises as both do, and `ReportError` for a job that failed or was cancelled."""
        report = await self.wait(await self.submit(job), on_status, timeout_s)
        if report.state is not JobState.DONE:
            raise ReportError(f"Job {report.id} {report.state}: {report.message}")
        return report

    async def statuses(self) -> dict[str, JobStatus]:
        """The newest status of each job, by its id."""
        found: dict[str, JobStatus] = {}
        async for record in self._everything(self._reports.status_topic):
            if (status := read_status(record)) is not None:
                found[status.id] = status
        return found

    async def reports(self, job_id: str) -> AsyncIterator[Report]:
        """All results of a job that are kept, oldest first."""
        async for record in self._everything(self._reports.results_topic):
            if record.key == job_id.encode():
                yield Report.model_validate_json(record.value)

    async def cancel(self, job_id: str) -> None:
        """Take back what was submitted under that id until now. Raises `SendFailed`."""
        try:
            await self._producer.send_and_wait(self._reports.cancels_topic, b"", job_id.encode())
        except KafkaError as error:
            raise SendFailed(f"Kafka does not take cancels: {error!r}.") from error

    async def _everything(self, topic: str) -> AsyncIterator[Any]:
        places = [TopicPartition(topic, partition) for partition in range(self._partitions)]
        async with self._reader(places) as reader:
            ends = await reader.end_offsets(places)
            await reader.seek_to_beginning(*places)
            while [place for place in places if await reader.position(place) < ends[place]]:
                for records in (await reader.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        yield record

    async def _ends(self, *topics: str) -> dict[TopicPartition, int]:
        places = [TopicPartition(topic, partition) for topic in topics for partition in range(self._partitions)]
        async with self._reader(places) as reader:
            ends: dict[TopicPartition, int] = await reader.end_offsets(places)
            return ends

    @asynccontextmanager
    async def _reader(self, places: list[TopicPartition]) -> AsyncIterator[Any]:
        reader = AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            with reaching(self._kafka):
                await start_client(reader)
            reader.assign(places)
            yield reader
        finally:
            await stop_consumer(reader)


def _queued(job: JobSpec) -> JobStatus:
    now_ms = time.time_ns() // 1_000_000
    return JobStatus(
        id=job.identity,
        run="",
        title=job.title,
        entity=job.entity,
        period=job.period,
        state=JobState.QUEUED,
        created_ms=now_ms,
        updated_ms=now_ms,
    )


def read_status(record: Any) -> JobStatus | None:
    """None for a record that is no status."""
    try:
        return JobStatus.model_validate_json(record.value or b"")
    except ValueError:
        return None
