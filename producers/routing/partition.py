"""One partition of a request topic, from taking it over to giving it up: read, decide, send on and commit, again.

What is sent on and the position that says so reach Kafka in one transaction, under the partition's own transactional
id: each request is sent on once, with every copy that it has, through crashes and rebalances. Workers read what is
committed only.
"""

import logging
from asyncio import sleep
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.offsets import BadMetadata, OffsetTracker, Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.producers.kafka.cluster import Topic
from pelton.producers.kafka.fetching import Unreadable, fetch
from pelton.producers.kafka.partition_writer import PartitionWriter
from pelton.producers.kafka.service_group import NONE_COMMITTED, ServiceGroup
from pelton.producers.routing.metrics import RouterMetrics
from pelton.producers.routing.outgoing import fitted
from pelton.producers.routing.router import Router

log = logging.getLogger(__name__)

POLL_MS = 500
MAX_RECORDS = 500
"""Of one transaction: it must be committed within its time-out."""
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0


class PartitionRouter:
    """Runs until it is cancelled."""

    def __init__(  # noqa: PLR0913  # what is read, who decides, and what it is sent on to
        self,
        kafka: KafkaSettings,
        group: ServiceGroup,
        place: TopicPartition,
        router: Router,
        *,
        topics: Mapping[str, Topic],
        metrics: RouterMetrics,
    ) -> None:
        """`topics` are those of all pools."""
        self._kafka = kafka
        self._group = group
        self._place = place
        self._router = router
        self._topics = topics
        self._metrics = metrics

    async def run(self) -> None:
        """Take over, work, and after any trouble with Kafka take over again."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        limits = [topic.max_message_bytes for topic in self._topics.values()]
        while True:
            writer = PartitionWriter(self._kafka, self._place, self._group, max(limits), max_batch_bytes=min(limits))
            consumer = self._consumer()
            try:
                await writer.open()
                await start_client(consumer)
                await self._work(writer, consumer, backoff)
            except (KafkaError, OSError, TimeoutError, BadMetadata) as error:
                log.warning("requests of %s: %r; taking it over again", self._place, error)
            finally:
                await writer.close()
                await stop_consumer(consumer)
            await sleep(backoff.next_s())

    async def _work(self, writer: PartitionWriter, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        consumer.assign([self._place])
        tracker = OffsetTracker(await self._progress(consumer))
        consumer.seek(self._place, tracker.fetch_from)
        while True:
            records = (await fetch(consumer, [self._place], POLL_MS, max_records=MAX_RECORDS)).get(self._place, [])
            taken = []
            for record in records:
                if not tracker.admits(record.offset):
                    consumer.seek(self._place, record.offset)
                    break
                if tracker.admit(record.offset):
                    taken.append(record)
            if taken:
                await self._send_on(writer, tracker, taken)
            backoff.reset()

    async def _send_on(self, writer: PartitionWriter, tracker: OffsetTracker, records: Sequence[Any]) -> None:
        requests = [_request(self._place, record) for record in records]
        sent = [(each, request) for request in requests for each in self._router.route(request)]
        offsets = [request.source.offset for request in requests]
        progress = tracker.after(set(offsets))
        position = OffsetAndMetadata(progress.position, progress.metadata())
        outgoing = [fitted(each.record, request, self._topics) for each, request in sent]
        await writer.publish(outgoing, {self._place: position})
        tracker.complete(offsets)
        self._metrics.note([each for each, _ in sent])

    async def _progress(self, consumer: AIOKafkaConsumer) -> Progress | None:
        """What is committed; None where nothing is, or where that was for a log which was longer: it was made anew."""
        committed = (await self._group.committed(self._place))[self._place]
        start = (await consumer.beginning_offsets([self._place]))[self._place]
        if committed.offset == NONE_COMMITTED:
            return Progress(start, start)
        progress = Progress.decode(committed.offset, committed.metadata)
        end = (await consumer.end_offsets([self._place]))[self._place]
        if progress.horizon <= end:
            return progress
        log.error("%s was made anew: it ends at offset %d, and %d was committed", self._place, end, progress.position)
        return Progress(start, start)

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # retention overtook us: go on with what is left
            enable_auto_commit=False,
        )


def _request(place: TopicPartition, record: Any) -> RequestRecord:
    """One that cannot be read is sent on without what it held, for a worker to refuse."""
    source = Source(place.topic, place.partition, record.offset)
    if isinstance(record, Unreadable):
        log.error("%s cannot be read, and is sent on to be refused: %r", source, record.error)
        cause = f"{record.error!r}, at {source}".encode()
        return RequestRecord(source, b"-", None, [(contract.UNREADABLE, cause)], 0, 0)
    headers = [(name, value) for name, value in record.headers]
    return RequestRecord(source, record.key, record.value, headers, record.timestamp, record.timestamp_type)
