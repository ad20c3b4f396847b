"""One partition of the jobs topic, from taking it over to giving it up: read, decide, commit, again.

Nothing in memory outlives an error: the partition is taken over anew, and its board is made from what Kafka holds.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.tracing import names
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.kafka.cluster import Topic
from pelton.producers.kafka.partition_writer import PartitionWriter
from pelton.producers.kafka.reply_reader import as_reply
from pelton.producers.kafka.sender_spans import SenderSpans
from pelton.producers.kafka.service_group import NONE_COMMITTED, ServiceGroup
from pelton.producers.reports.service.board import Board
from pelton.producers.reports.service.encoding import OutboxEncoder
from pelton.producers.reports.service.records import SectionState
from pelton.producers.reports.service.section_store import SectionStore
from pelton.producers.reports.service.submissions import read_submission

log = logging.getLogger(__name__)

POLL_MS = 500
MAX_RECORDS = 200
"""Of one poll: what they lead to must be committed within the transaction's time-out."""
SPARE_BYTES = 4_096
"""What headers and the batch around a record may take."""
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0


class PartitionProcessor:
    """Runs until it is cancelled."""

    def __init__(  # noqa: PLR0913  # the settings of two sections, and what Kafka said of the topics
        self,
        kafka: KafkaSettings,
        reports: ReportSettings,
        group: ServiceGroup,
        partition: int,
        *,
        requests: Topic,
        max_bytes: int,
        traces: Traces | None = None,
    ) -> None:
        """`max_bytes` is the largest record that results may have; `requests` the topic that workers read."""
        self._kafka = kafka
        self._reports = reports
        self._group = group
        self._max_bytes = max_bytes
        self._max_request_bytes = requests.max_message_bytes - SPARE_BYTES
        self._jobs = TopicPartition(reports.jobs_topic, partition)
        self._replies = TopicPartition(reports.replies_topic, partition)
        self._cancels = TopicPartition(reports.cancels_topic, partition)
        self._sections = TopicPartition(reports.sections_topic, partition)
        self._spans = SenderSpans(traces, kafka.request_topics[0])
        self._encoder = OutboxEncoder(kafka, reports, partition, requests.partitions)

    async def run(self) -> None:
        """Take over, work, and after any trouble with Kafka take over again."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            writer = PartitionWriter(self._kafka, self._jobs, self._group, self._max_bytes)
            consumer = self._consumer()
            try:
                await writer.open()
                await start_client(consumer)
                await self._work(writer, consumer, backoff)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("jobs of partition %d: %r; taking it over again", self._jobs.partition, error)
            finally:
                await writer.close()
                await stop_consumer(consumer)
            await asyncio.sleep(backoff.next_s())

    async def _work(self, writer: PartitionWriter, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        store = await self._read_sections(consumer)
        board = Board(
            store,
            self._timeout_ms,
            _now_ms,
            max_request_bytes=self._max_request_bytes,
            max_result_bytes=self._max_bytes,
        )
        tracker, replies_from = await self._positions()
        consumer.assign([self._jobs, self._replies, self._cancels])
        consumer.seek(self._jobs, tracker.fetch_from)
        consumer.seek(self._replies, replies_from)
        await self._read_cancels(consumer, board)
        log.info("jobs of partition %d are ours, from offset %d", self._jobs.partition, tracker.fetch_from)
        while True:
            batches = await consumer.getmany(*self._wanted(board, tracker), timeout_ms=POLL_MS, max_records=MAX_RECORDS)
            replies = batches.get(self._replies, ())
            replies_from = replies[-1].offset + 1 if replies else replies_from
            # Plans and checks are computing: other partitions, and the group's heartbeats, go on meanwhile.
            left = await asyncio.to_thread(self._apply, board, tracker, batches)
            if left is not None:
                consumer.seek(self._jobs, left)
            await self._commit(writer, board, tracker, replies_from, read=bool(replies))
            backoff.reset()

    def _apply(
        self, board: Board, tracker: OffsetTracker, batches: Mapping[TopicPartition, Sequence[Any]]
    ) -> int | None:
        """Tell the board; return the offset of the first job that there was no room for."""
        for record in batches.get(self._cancels, ()):
            _cancel(board, record)
        for record in batches.get(self._replies, ()):
            reply = as_reply(record)
            self._spans.received(reply, self._replies.topic)
            board.reply(reply)
        board.tick()
        for record in batches.get(self._jobs, ()):
            if not self._has_room(board, tracker) or not tracker.admits(record.offset):
                return int(record.offset)
            if tracker.admit(record.offset):
                board.admit(*read_submission(record))
        return None

    async def _commit(
        self, writer: PartitionWriter, board: Board, tracker: OffsetTracker, replies_from: int, *, read: bool
    ) -> None:
        outbox = board.take()
        if outbox.empty and not read:
            return
        progress = tracker.after(outbox.answered)
        positions = {
            self._jobs: OffsetAndMetadata(progress.position, progress.metadata()),
            self._replies: OffsetAndMetadata(replies_from, ""),
        }
        jobs = [{names.JOB: request.job_id} for request in outbox.requests]
        with self._spans.sent_together(self._encoder.requests(outbox), jobs) as requests:
            await writer.publish([*requests, *self._encoder.others(outbox)], positions)
        tracker.complete(outbox.answered)

    def _wanted(self, board: Board, tracker: OffsetTracker) -> list[TopicPartition]:
        jobs = [self._jobs] if self._has_room(board, tracker) else []
        return [self._replies, self._cancels, *jobs]

    def _has_room(self, board: Board, tracker: OffsetTracker) -> bool:
        reports = self._reports
        return (
            board.jobs < reports.max_active_jobs and board.source_bytes < reports.max_active_bytes and not tracker.full
        )

    async def _positions(self) -> tuple[OffsetTracker, int]:
        committed = await self._group.committed(self._jobs, self._replies)
        jobs, replies = committed[self._jobs], committed[self._replies]
        known = jobs.offset != NONE_COMMITTED
        tracker = OffsetTracker(Progress.decode(jobs.offset, jobs.metadata) if known else None)
        return tracker, max(replies.offset, 0)

    async def _read_sections(self, consumer: AIOKafkaConsumer) -> SectionStore:
        store = SectionStore(self._reports.max_stored_bytes)
        consumer.assign([self._sections])
        async for record in _read_all(consumer, self._sections):
            fingerprint = (record.key or b"").decode(errors="replace")
            try:
                store.put(fingerprint, SectionState.decode(record.value or b""))
            except ValueError as error:
                log.warning("%s, offset %d is left out: %s", self._sections.topic, record.offset, error)
        return store

    async def _read_cancels(self, consumer: AIOKafkaConsumer, board: Board) -> None:
        """All there are: they hold for jobs that have not been read yet."""
        async for record in _read_all(consumer, self._cancels):
            _cancel(board, record)

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # retention overtook us: go on with what is left
            enable_auto_commit=False,
        )

    @property
    def _timeout_ms(self) -> int:
        return int(self._reports.section_timeout_s * 1000)


async def _read_all(consumer: AIOKafkaConsumer, place: TopicPartition) -> AsyncIterator[Any]:
    """Every record of an assigned partition, to where it ends now."""
    consumer.seek(place, 0)
    end = (await consumer.end_offsets([place]))[place]
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=POLL_MS)).get(place, ()):
            yield record


def _cancel(board: Board, record: Any) -> None:
    board.cancel((record.key or b"").decode(errors="replace"), record.timestamp)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
