"""Intake: fetches no more records than there is room for, prepares them, and lets them join the waiting line."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from pipeline import contract
from pipeline.backoff import Backoff
from pipeline.errors import DeadlineExceeded, InvalidHeader, RequestError
from pipeline.handoff import Handoff
from pipeline.headers import Envelope, ReplyPolicy, read_envelope
from pipeline.metrics import Metrics
from pipeline.offsets import OffsetTracker
from pipeline.records import RequestRecord, Source
from pipeline.waiting import Place, WaitingLine
from workers.assignment import Assignment
from workers.codec import Codec
from workers.jobs import Ending, Job, Refused, Ticket
from workers.preparing import Limits, prepare
from workers.topics import TopicDirectory

log = logging.getLogger(__name__)

Fetched = dict[TopicPartition, list[ConsumerRecord]]

POLL_MS = 250
"""How long one poll waits for records: the longest that a drain waits for intake."""
POLL_ALONE_MS = 100
"""How long a poll waits for one partition's records after one for all has failed."""
TAKE_OVER_LOOK_S = 0.01
"""How often to look for partitions to fetch from when there are none: not taken over yet, or with too much open."""
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0
SWEEP_S = 0.25
"""How often the waiting line is searched for requests whose deadline has passed."""


class Intake:
    """The event-loop side before the waiting line."""

    def __init__(  # noqa: PLR0913  # it joins the consumer to the line; each is a part of the worker
        self,
        *,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        directory: TopicDirectory,
        policy: ReplyPolicy,
        codec: Codec,
        limits: Limits,
        line: WaitingLine[Job],
        endings: Handoff[Ending],
        metrics: Metrics,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._directory = directory
        self._policy = policy
        self._codec = codec
        self._limits = limits
        self._line = line
        self._endings = endings
        self._metrics = metrics
        self._stopping = False
        self._unreadable: set[TopicPartition] = set()

    def stop(self) -> None:
        """End `run` after the poll under way."""
        self._stopping = True

    async def run(self) -> None:
        """Poll until stopped. While the line is full nothing is fetched; the consumer's heartbeat goes on by itself."""
        while not self._stopping:
            free = await self._line.wait_for_room()
            partitions = [tp for tp in self._assignment.fetchable() if tp not in self._unreadable]
            if not partitions:  # asked for none, the consumer would give records of all
                await asyncio.sleep(TAKE_OVER_LOOK_S)
                continue
            fetched = await self._fetch(partitions, free)
            tickets = [ticket for partition, records in fetched.items() for ticket in self._admit(partition, records)]
            if tickets:
                await self._take_in(tickets)

    async def sweep(self) -> None:
        """Answer the requests whose deadline passes while they wait."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for place in self._line.remove_expired(time.monotonic()):
                await self._endings.put_async(Refused(place.item.ticket, _too_late("in the waiting line")))
            self._metrics.waiting_requests.set(len(self._line))
            self._metrics.waiting_tokens.set(self._line.tokens)

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

    def _admit(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> list[Ticket]:
        tracker = self._assignment.tracker(partition)
        if tracker is None:
            return []
        tickets: list[Ticket] = []
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

    def _ticket(self, fetched: ConsumerRecord, tracker: OffsetTracker) -> Ticket:
        record = _request_record(fetched)
        envelope = read_envelope(record.source, record.headers, self._policy)
        queue_s = max(0.0, time.time() - record.timestamp_ms / 1000)
        return Ticket(record, envelope, tracker, time.monotonic(), queue_s)

    async def _take_in(self, tickets: list[Ticket]) -> None:
        sound = []
        for ticket in tickets:
            try:
                _check_deadline(ticket.envelope)
                sound.append(replace(ticket, envelope=await self._resolve_address(ticket.envelope)))
            except (RequestError, DeadlineExceeded) as error:
                await self._endings.put_async(Refused(_to_default(ticket, error, self._policy), error))
        jobs, refused = await asyncio.to_thread(prepare, sound, self._codec, self._limits)
        for refusal in refused:
            await self._endings.put_async(refusal)
        for job in jobs:
            await self._line.put(_place(job))

    async def _resolve_address(self, envelope: Envelope) -> Envelope:
        """Make sure that the reply can be sent where the sender wants it.

        Where no partition is asked for, it is the one with the request's own number: so a transaction, which holds the
        replies to one request partition, touches one reply partition and not all of them.
        """
        partitions = await self._partitions(envelope.reply_topic)
        if partitions is None:
            message = f"Header {contract.REPLY_TOPIC} names topic {envelope.reply_topic!r}, which does not exist."
            raise InvalidHeader(message, param=contract.REPLY_TOPIC)
        if envelope.reply_partition is not None and envelope.reply_partition >= partitions:
            raise InvalidHeader(
                f"Header {contract.REPLY_PARTITION} is {envelope.reply_partition}, but topic {envelope.reply_topic!r} "
                f"has partitions 0 to {partitions - 1}.",
                param=contract.REPLY_PARTITION,
            )
        if envelope.reply_partition is not None:
            return envelope
        return replace(envelope, reply_partition=envelope.source.partition % partitions)

    async def _partitions(self, topic: str) -> int | None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                return await self._directory.partitions(topic)
            except (KafkaError, OSError) as error:
                log.warning("asking for topic %s failed, trying again: %r", topic, error)
                await asyncio.sleep(backoff.next_s())


def _request_record(fetched: ConsumerRecord) -> RequestRecord:
    return RequestRecord(
        source=Source(fetched.topic, fetched.partition, fetched.offset),
        key=fetched.key,
        value=fetched.value,
        headers=[(name, value or b"") for name, value in fetched.headers],
        timestamp_ms=fetched.timestamp,
        timestamp_type=fetched.timestamp_type,
    )


def _place(job: Job) -> Place[Job]:
    now = time.monotonic()
    deadline_ms = job.ticket.envelope.deadline_ms
    expires = None if deadline_ms is None else now + deadline_ms / 1000 - time.time()
    return Place(job, len(job.prompt), job.max_new_tokens, now, expires)


def _check_deadline(envelope: Envelope) -> None:
    if envelope.deadline_ms is not None and envelope.deadline_ms <= time.time() * 1000:
        raise _too_late("before a worker fetched it")


def _too_late(where: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"The request's {contract.DEADLINE} passed {where}.", param=contract.DEADLINE)


def _to_default(ticket: Ticket, error: Exception, policy: ReplyPolicy) -> Ticket:
    """An address that does not exist cannot be told so: the error goes to the default one."""
    if not isinstance(error, InvalidHeader):
        return ticket
    envelope = replace(ticket.envelope, reply_topic=policy.default_topic, reply_partition=None)
    return replace(ticket, envelope=envelope)
