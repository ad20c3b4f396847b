"""Makes the publisher of each partition that is assigned, and passes on what it reports."""

import contextlib
from collections.abc import Callable
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.workers.delivery.partition_publisher import PartitionPublisher
from pelton.workers.delivery.redirects import Redirects
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.delivery.reply_spans import ReplySpans
from pelton.workers.delivery.traced_writer import TracedWriter
from pelton.workers.delivery.transactions import AtLeastOnceWriter, PartitionWriter, TransactionalWriter
from pelton.workers.kafka.group import ConsumerGroup
from pelton.workers.kafka.log_ranges import LogRanges
from pelton.workers.quarantine.suspects import SuspectTable
from pelton.workers.requests import OutgoingReply
from pelton.workers.sessions.coordinator import SessionCoordinator


class PartitionPublishers:
    """Calls with a partition give its publisher."""

    def __init__(  # noqa: PLR0913  # what a publisher is made of, and who wants to know of commits
        self,
        kafka: KafkaSettings,
        *,
        group: ConsumerGroup,
        consumer: AIOKafkaConsumer,
        ranges: LogRanges,
        redirects: Redirects,
        counts: ReplyCounts,
        spans: ReplySpans,
        traces: Traces | None,
        sessions: SessionCoordinator,
        suspects: SuspectTable,
        on_failure: Callable[[], None],
        on_take_over: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._consumer = consumer
        self._ranges = ranges
        self._redirects = redirects
        self._counts = counts
        self._spans = spans
        self._traces = traces
        self._sessions = sessions
        self._suspects = suspects
        self._on_failure = on_failure
        self._on_take_over = on_take_over

    def __call__(self, partition: TopicPartition) -> PartitionPublisher:
        return PartitionPublisher(
            partition,
            self._traced(self._writer(partition), partition),
            on_open=self._opened,
            on_published=self._published,
            on_failure=self._on_failure,
            starting_point=partial(self._ranges.starting_point, partition),
            is_current=partial(self._ranges.is_current, partition.topic),
            redirects=self._redirects,
        )

    def resume(self, partition: TopicPartition, tracker: OffsetTracker) -> None:
        """Fetch on with what the tracker has not seen."""
        self._seek(partition, tracker.fetch_from)

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # just revoked: who is assigned it next begins anew, or resumes
            self._consumer.seek(partition, offset)

    def _traced(self, writer: PartitionWriter, partition: TopicPartition) -> PartitionWriter:
        return writer if self._traces is None else TracedWriter(writer, self._traces, partition.topic)

    def _writer(self, partition: TopicPartition) -> PartitionWriter:
        if self._kafka.delivery == "exactly_once":
            return TransactionalWriter(self._kafka, partition, self._group)
        return AtLeastOnceWriter(self._kafka, partition, self._group, self._consumer)

    def _published(self, replies: list[OutgoingReply]) -> None:
        self._counts.note(replies)
        if self._traces is not None:
            for reply in replies:
                self._spans.committed(reply.ending, reply.trace)
        self._sessions.published(replies)
        self._suspects.settle(reply.ending.delivery.record.source for reply in replies)

    def _opened(self, partition: TopicPartition, progress: Progress | None) -> None:
        """Fetch from what is committed; where nothing is, the consumer starts with the oldest record by itself."""
        self._on_take_over()
        if progress is not None:
            self._sessions.reconcile(partition, progress)
            self._suspects.settle_if(
                lambda source: (source.topic, source.partition) == partition and progress.answered(source.offset)
            )
            self._seek(partition, progress.position)
