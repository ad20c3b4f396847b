"""Intake: fetches no more records than there is room for, and each of them once."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError

from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.intake.admission import Admission
from pelton.workers.requests import Delivery
from pelton.workers.sessions.coordinator import SessionCoordinator

log = logging.getLogger(__name__)

Fetched = dict[TopicPartition, list[ConsumerRecord]]

POLL_MS = 250
"""How long one poll waits for records: the longest that a drain waits for intake."""
POLL_ALONE_MS = 100
"""How long a poll waits for one partition's records after one for all has failed."""
TAKE_OVER_LOOK_S = 0.01
"""How often to look for partitions to fetch from when there are none: not taken over yet, or with too much open."""


class Poller:
    """Polls on the event loop; what it fetches goes to the reception."""

    def __init__(  # noqa: PLR0913  # where records come from, what is known of them, where they go
        self,
        *,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        policy: ReplyPolicy,
        sessions: SessionCoordinator,
        reception: Admission,
        metrics: Metrics,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._policy = policy
        self._sessions = sessions
        self._reception = reception
        self._metrics = metrics
        self._stopping = False
        self._unreadable: set[TopicPartition] = set()

    def stop(self) -> None:
        """End `run` after the poll under way."""
        self._stopping = True

    async def run(self) -> None:
        """Poll until stopped. While the line is full nothing is fetched; the consumer's heartbeat goes on by itself."""
        while not self._stopping:
            free = await self._reception.wait_for_room()
            partitions = self._fetchable()
            if not partitions:  # asked for none, the consumer would give records of all
                await asyncio.sleep(TAKE_OVER_LOOK_S)
                continue
            fetched = await self._fetch(partitions, free)
            tickets = [ticket for partition, records in fetched.items() for ticket in self._admit(partition, records)]
            if tickets:
                await self._reception.take_in(tickets)

    def _fetchable(self) -> list[TopicPartition]:
        ours = self._assignment.fetchable()
        return [tp for tp in ours if tp not in self._unreadable and self._sessions.has_room(tp, len(ours))]

    async def _fetch(self, partitions: list[TopicPartition], most: int) -> Fetched:
        """Poll; where aiokafka cannot read a record, set its partition aside, so that the others go on."""
        try:
            fetched: Fetched = await self._consumer.getmany(*partitions, timeout_ms=POLL_MS, max_records=most)
        except UnicodeDecodeError:
            most_alone = 1 + most // len(partitions)
            return {partition: await self._fetch_alone(partition, most_alone) for partition in partitions}
        return fetched

    async def _fetch_alone(self, partition: TopicPartition, most: int) -> list[ConsumerRecord]:
        # The poll that failed had already taken records of some partitions: they have to be fetched again.
        if tracker := self._assignment.tracker(partition):
            self._seek(partition, tracker.fetch_from)
        try:
            fetched = await self._consumer.getmany(partition, timeout_ms=POLL_ALONE_MS, max_records=most)
            return list(fetched.get(partition, []))
        except UnicodeDecodeError as error:
            self._unreadable.add(partition)
            log.error(  # noqa: TRY400  # the message says it all
                "%s is set aside: from offset %d on a record has a header name that is not UTF-8 (%s), which aiokafka "
                "cannot read. Move the group's offset past it and restart the worker.",
                partition,
                await self._consumer.position(partition),
                error,
            )
            return []

    def _admit(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> list[Delivery]:
        tracker = self._assignment.tracker(partition)
        if tracker is None:
            return []
        tickets: list[Delivery] = []
        for fetched in records:
            if not tracker.admits(fetched.offset):
                self._seek(partition, fetched.offset)
                break
            if tracker.admit(fetched.offset):
                tickets.append(self._ticket(fetched, tracker))
        self._metrics.fetched.inc(len(tickets))
        return tickets

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # just revoked: whoever gets it starts from the commit
            self._consumer.seek(partition, offset)

    def _ticket(self, fetched: ConsumerRecord, tracker: OffsetTracker) -> Delivery:
        record = _request_record(fetched)
        envelope = read_envelope(record.source, record.headers, self._policy, record.key, record.value)
        queue_s = max(0.0, time.time() - record.timestamp_ms / 1000)
        return Delivery(record, envelope, tracker, time.monotonic(), queue_s)


def _request_record(fetched: ConsumerRecord) -> RequestRecord:
    return RequestRecord(
        source=Source(fetched.topic, fetched.partition, fetched.offset),
        key=fetched.key,
        value=fetched.value,
        headers=[(name, value or b"") for name, value in fetched.headers],
        timestamp_ms=fetched.timestamp,
        timestamp_type=fetched.timestamp_type,
    )
