"""The job service as a member of its group: which partitions of jobs are ours, and a processor for each."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.reports.service.group import ServiceGroup
from pelton.producers.reports.service.partition import SPARE_BYTES, PartitionProcessor
from pelton.producers.reports.service.topics import ensure_topics, look_at

log = logging.getLogger(__name__)

REBALANCE_MS = 30_000
POLL_MS = 1_000
SETTLE_S = 10.0
"""How long processors may take to end: a transaction that is being committed is let through."""


async def serve(
    kafka: KafkaSettings,
    reports: ReportSettings,
    stop: asyncio.Event,
    on_ready: Callable[[], None] = lambda: None,
    traces: Traces | None = None,
) -> None:
    """Make the topics that are missing, join the group, and work until `stop` is set.

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

    def processor(partition: int) -> PartitionProcessor:
        largest = topics[reports.results_topic].max_message_bytes - SPARE_BYTES
        return PartitionProcessor(kafka, reports, group, partition, requests=requests, max_bytes=largest, traces=traces)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(group.close)
        with reaching(kafka):
            await group.start()
        assignment = Assignment(processor, on_ready)
        member = _member(kafka, reports, client_id)
        member.subscribe([reports.jobs_topic], listener=assignment)
        stack.push_async_callback(member.stop)
        stack.push_async_callback(assignment.close)  # before the group is left: what is being committed still is ours
        with reaching(kafka):
            await member.start()
        await _stay(member, assignment, stop)


class Assignment(ConsumerRebalanceListener):
    """Starts and ends processors as partitions come and go. Those that come back after a rebalance were never ended."""

    def __init__(self, processor_of: Callable[[int], PartitionProcessor], on_ready: Callable[[], None]) -> None:
        self._processor_of = processor_of
        self._on_ready = on_ready
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error of a processor that ended."""

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Nothing yet: most come back, and whoever else gets one shuts us out of it by starting its producer."""

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        ours = {place.partition for place in assigned}
        for partition in self._tasks.keys() - ours:
            self._end(partition)
        for partition in ours - self._tasks.keys():
            task = self._tasks[partition] = asyncio.create_task(self._processor_of(partition).run())
            task.add_done_callback(self._notice)
        log.info("%d partitions of jobs are ours", len(ours))
        self._on_ready()

    async def close(self) -> None:
        for partition in list(self._tasks):
            self._end(partition)
        if self._ending:
            await asyncio.wait(self._ending, timeout=SETTLE_S)

    def _end(self, partition: int) -> None:
        task = self._tasks.pop(partition)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _notice(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)


async def _stay(member: AIOKafkaConsumer, assignment: Assignment, stop: asyncio.Event) -> None:
    """Keep the membership: what is assigned is read by the processors, not here."""
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            member.pause(*member.assignment())
            polling = asyncio.create_task(_poll(member))
            either: tuple[asyncio.Future[Any], ...] = (polling, stopping, assignment.failed)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if assignment.failed.done():
                await assignment.failed
            if not polling.done():
                polling.cancel()
            await asyncio.wait({polling})
    finally:
        stopping.cancel()


async def _poll(member: AIOKafkaConsumer) -> None:
    try:
        await member.getmany(timeout_ms=POLL_MS, max_records=1)
    except KafkaError as error:
        log.warning("the group's consumer: %r", error)
        await asyncio.sleep(POLL_MS / 1000)


def _member(kafka: KafkaSettings, reports: ReportSettings, client_id: str) -> AIOKafkaConsumer:
    # A join is answered when the slowest member has joined; given up before, each retry is a new member.
    options = kafka.client_options() | {"request_timeout_ms": REBALANCE_MS + 10_000}
    return AIOKafkaConsumer(
        **options,
        client_id=client_id,
        group_id=reports.group_id,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, kafka.session_timeout_ms // 3),
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=3_600_000,
        max_partition_fetch_bytes=1_024,  # nothing is read here, and a record fetched by chance is thrown away
    )
