"""Intake: fetches no more records than there is room for, and each of them once."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.errors import UnreadableRecord
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.sparse_log import SparseLog
from pelton.pipeline.wire.contract import UNREADABLE, Lane
from pelton.pipeline.wire.headers import Envelope, ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.cancellation.deadlines import FIRST_PLAUSIBLE_MS
from pelton.workers.containment import fault
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.intake.admission import Admission
from pelton.workers.intake.reply_addresses import ReplyAddresses
from pelton.workers.notices import ABOUT_KAFKA
from pelton.workers.requests import Delivery
from pelton.workers.sessions.coordinator import SessionCoordinator

log = logging.getLogger(__name__)

Fetched = dict[TopicPartition, list[ConsumerRecord]]

POLL_MS = 250
"""How long one poll waits for records: the longest that a drain waits for intake."""
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0
TAKE_OVER_LOOK_S = 0.01
"""How often to look for partitions to fetch from when there are none: not taken over yet, or with too much open."""


class Poller:
    """Polls on the event loop; what it fetches goes to the admission."""

    def __init__(  # noqa: PLR0913  # where records come from, what is known of them, where they go
        self,
        *,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        policy: ReplyPolicy,
        sessions: SessionCoordinator,
        quotas: QuotaGate,
        admission: Admission,
        addresses: ReplyAddresses,
        metrics: Metrics,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._policy = policy
        self._sessions = sessions
        self._quotas = quotas
        self._admission = admission
        self._addresses = addresses
        self._metrics = metrics
        self._stopping = False
        self._untimed = SparseLog()
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)

    def stop(self) -> None:
        """End `run` after the poll under way."""
        self._stopping = True

    async def run(self) -> None:
        """Poll until stopped. While the queue is full nothing is fetched; the consumer's heartbeat goes on by itself.

        Each lane is fetched by itself, so that the topics of one go on while the other's part of the queue is full.
        """
        if not self._policy.interactive_topics:
            await self._poll(Lane.BATCH)
            return
        async with asyncio.TaskGroup() as lanes:
            for lane in Lane:
                lanes.create_task(self._poll(lane))

    async def _poll(self, lane: Lane) -> None:
        while not self._stopping:
            free = await self._admission.wait_for_room(lane)
            partitions = [tp for tp in self._fetchable() if self._policy.lane_of(tp.topic) is lane]
            if not partitions:  # asked for none, the consumer would give records of all
                await asyncio.sleep(TAKE_OVER_LOOK_S)
                continue
            fetched = await self._fetch(partitions, free)
            deliveries = [
                delivery for partition, records in fetched.items() for delivery in self._admit(partition, records)
            ]
            if deliveries:
                await self._admission.take_in(deliveries)

    def _fetchable(self) -> list[TopicPartition]:
        ours = self._assignment.fetchable()
        rooms = (self._sessions, self._quotas)
        return [tp for tp in ours if all(room.has_room(tp, len(ours)) for room in rooms)]

    async def _fetch(self, partitions: list[TopicPartition], most: int) -> Fetched:
        """Poll. A poll that fails may have taken records of some partitions already: all are fetched again."""
        try:
            fetched: Fetched = await self._consumer.getmany(*partitions, timeout_ms=POLL_MS, max_records=most)
        except ConsumerStoppedError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one topic, the others go on
            wait_s = self._backoff.next_s()
            log.warning("requests cannot be fetched, trying again in %.1f s: %r", wait_s, error, extra=ABOUT_KAFKA)
            for partition in partitions:
                if tracker := self._assignment.tracker(partition):
                    self._seek(partition, tracker.fetch_from)
            await asyncio.sleep(wait_s)
            return {}
        self._backoff.reset()
        return fetched

    def _admit(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> list[Delivery]:
        tracker = self._assignment.tracker(partition)
        if tracker is None:
            return []
        deliveries: list[Delivery] = []
        reply_partition = self._addresses.default_partition(partition.partition)
        for fetched in records:
            if not tracker.admits(fetched.offset):
                self._seek(partition, fetched.offset)
                break
            if tracker.admit(fetched.offset):
                deliveries.append(self._ticket(fetched, tracker, reply_partition))
        self._metrics.fetched.inc(len(deliveries))
        return deliveries

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # just revoked: whoever gets it starts from the commit
            self._consumer.seek(partition, offset)

    def _queue_s(self, record: RequestRecord) -> float:
        """How long a record has waited in Kafka; 0 where its timestamp does not say."""
        if record.timestamp_ms >= FIRST_PLAUSIBLE_MS:
            return max(0.0, time.time() - record.timestamp_ms / 1000)
        if count := self._untimed.due():
            log.warning(
                "%d request(s) with a timestamp of %d (Unix milliseconds) that their sender set, the last at %s: "
                "retention deletes such records early, and nobody can tell how long they waited; leave the timestamp "
                "out, or set message.timestamp.type=LogAppendTime on the topic",
                count, record.timestamp_ms, record.source,
            )  # fmt: skip
        return 0.0

    def _ticket(self, fetched: ConsumerRecord, tracker: OffsetTracker, reply_partition: int | None) -> Delivery:
        """The record's delivery, whatever is wrong with it: a later stage reports that to its sender."""
        record = _request_record(fetched)
        queue_s = self._queue_s(record)
        try:
            envelope = read_envelope(
                record.source, record.headers, self._policy, record.key, record.value, reply_partition
            )
        except Exception as error:  # noqa: BLE001  # the headers of one record are no other's trouble
            nothing = Envelope(record.source, str(record.source).encode(), self._policy.default_topic)
            delivery = Delivery(record, nothing, tracker, time.monotonic(), queue_s)
            told = fault(error, "read the headers of", delivery)
            return replace(delivery, envelope=replace(nothing, fault=told))
        return Delivery(record, _unless_unreadable(envelope, record), tracker, time.monotonic(), queue_s)


def _unless_unreadable(envelope: Envelope, record: RequestRecord) -> Envelope:
    """What could not be read of a record comes first among its faults, one of which the header that says so is."""
    if envelope.fault is None or (cause := dict(record.headers).get(UNREADABLE)) is None:
        return envelope
    message = f"The record cannot be read: {cause.decode(errors='replace')}. Its bytes are kept as a dead letter."
    return replace(envelope, fault=UnreadableRecord(message))


def _request_record(fetched: ConsumerRecord) -> RequestRecord:
    return RequestRecord(
        source=Source(fetched.topic, fetched.partition, fetched.offset),
        key=fetched.key,
        value=fetched.value,
        headers=[(name, value or b"") for name, value in fetched.headers],
        timestamp_ms=fetched.timestamp,
        timestamp_type=fetched.timestamp_type,
    )
