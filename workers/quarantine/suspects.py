"""The suspects: requests that were in the engine of a worker that died, as all workers of the group know them.

They are kept in a compacted topic, so that counts survive restarts of everything and follow a partition to its next
owner. Parents of workers write suspicions there; workers read them, and withdraw one when its request is answered.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer, stop_producer
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.sparse_log import SparseLog
from pelton.pipeline.wire.records import Source
from pelton.workers.kafka.consumers import feed_consumer
from pelton.workers.notices import ABOUT_KAFKA
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.suspect_records import SuspectRecords, Suspicion

log = logging.getLogger(__name__)

POLL_MS = 5_000
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
CATCH_UP_S = 30.0
"""A worker starts without the suspects when they cannot be read for so long: most requests are none."""
MAX_SUSPECTS = 100_000
"""More than the engines of a large fleet hold when all of them die at once; the oldest are forgotten first."""


class SuspectTable:
    """What one worker knows. Read on the inference thread, written on the event loop: each call is atomic."""

    def __init__(self) -> None:
        self._suspicions: dict[Source, tuple[CrashHistory, int]] = {}
        self.settled: asyncio.Queue[Source] = asyncio.Queue()
        """Suspects of which that is over: their suspicions are to be withdrawn."""

    def __len__(self) -> int:
        return len(self._suspicions)

    def get(self, source: Source, sent_ms: int) -> CrashHistory | None:
        """What the request at `source`, sent then (Unix milliseconds), is suspected of.

        A suspicion that is older than the request cannot be about it: nobody can condemn what is yet to come.
        """
        blame, written_ms = self._suspicions.get(source, _UNSUSPECTED)
        return blame if sent_ms <= written_ms else None

    def set(self, source: Source, blame: CrashHistory, written_ms: int) -> None:
        self._suspicions.pop(source, None)
        while len(self._suspicions) >= MAX_SUSPECTS:
            del self._suspicions[next(iter(self._suspicions))]
        self._suspicions[source] = (blame, written_ms)

    def forget(self, source: Source) -> None:
        self._suspicions.pop(source, None)

    def settle(self, sources: Iterable[Source]) -> None:
        """These are answered and committed: whatever they were suspected of is over."""
        if not self._suspicions:
            return
        for source in sources:
            if self._suspicions.pop(source, None) is not None:
                self.settled.put_nowait(source)

    def settle_if(self, answered: Callable[[Source], bool]) -> None:
        """The same for all of which it is true: a worker that dies leaves behind what it had no time to withdraw."""
        self.settle([source for source in self._suspicions if answered(source)])


_UNSUSPECTED: tuple[CrashHistory | None, int] = (None, 0)


class SuspectFeed:
    """Keeps a table in step with the topic, both ways. Nothing that is written there ends it."""

    def __init__(self, kafka: KafkaSettings, table: SuspectTable) -> None:
        self._kafka = kafka
        self._table = table
        self._records = SuspectRecords.of(kafka)
        self._partition = TopicPartition(kafka.suspects_topic, 0)
        self._consumer = feed_consumer(kafka, auto_offset_reset="earliest")
        self._tasks: list[asyncio.Task[None]] = []
        self._read = asyncio.Condition()
        self._ignored = SparseLog()

    async def start(self) -> None:
        """Read the topic to its end, as far as that is possible, then follow it. Raises `KafkaError`."""
        await start_client(self._consumer)
        ends = await self._consumer.end_offsets([self._partition])
        self._consumer.assign([self._partition])
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._withdraw())]
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await self._catch_up(ends[self._partition])
        except TimeoutError:
            log.error(  # noqa: TRY400  # the time that ran out explains nothing
                "topic %s could not be read to its end in %g s: requests that ended a worker may run beside others "
                "until it is", self._partition.topic, CATCH_UP_S,
            )  # fmt: skip
        if self._table:
            log.info("%d requests are suspected of having ended a worker: they run apart from others", len(self._table))

    async def stop(self) -> None:
        """Withdraw what is settled, then end. What cannot be written any more costs an isolated run, no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._kafka.request_timeout_ms / 1000):
                await self._table.settled.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await stop_consumer(self._consumer)

    async def _catch_up(self, end: int) -> None:
        """Return when everything before offset `end` is in the table."""
        async with self._read:
            while await self._consumer.position(self._partition) < end:
                await self._read.wait()

    async def _follow(self) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except Exception as error:  # noqa: BLE001  # a record may be of any kind: nothing in it may end this task
                log.warning(
                    "suspects cannot be read from topic %s, trying again: %s",
                    self._partition.topic, shown(repr(error)), extra=ABOUT_KAFKA,
                )  # fmt: skip
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for record in fetched.get(self._partition, ()):
                self._apply(record)
            async with self._read:
                self._read.notify_all()

    def _apply(self, record: ConsumerRecord) -> None:
        try:
            suspicion = self._records.read(record)
        except ValueError as error:
            self._ignore(record, error)
            return
        if suspicion is not None:
            self._take(suspicion)

    def _take(self, suspicion: Suspicion) -> None:
        if suspicion.blame is None:
            self._table.forget(suspicion.source)
        else:
            self._table.set(suspicion.source, suspicion.blame, suspicion.written_ms)

    def _ignore(self, record: ConsumerRecord, error: ValueError) -> None:
        if count := self._ignored.due():
            log.warning("ignoring record %d of topic %s (1 of %d): %s", record.offset, record.topic, count, error)

    async def _withdraw(self) -> None:
        """Write a tombstone for each that is settled, with a producer made for it: most workers never need one."""
        while True:
            settled = [await self._table.settled.get()]
            while not self._table.settled.empty():
                settled.append(self._table.settled.get_nowait())
            await self._publish_until_taken(dict.fromkeys(settled))
            for _ in settled:
                self._table.settled.task_done()

    async def _publish_until_taken(self, suspects: Mapping[Source, CrashHistory | None]) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                return await publish_suspects(self._kafka, suspects)
            except Exception as error:  # noqa: BLE001  # as in `_follow`: this task must outlive whatever it is
                log.warning(
                    "topic %s cannot be written to, trying again: %s", self._kafka.suspects_topic, shown(repr(error)),
                    extra=ABOUT_KAFKA,
                )  # fmt: skip
                await asyncio.sleep(backoff.next_s())


async def publish_suspects(kafka: KafkaSettings, suspects: Mapping[Source, CrashHistory | None]) -> None:
    """Write suspicions; None withdraws one. Raises `KafkaError` or `OSError`."""
    records = SuspectRecords.of(kafka)
    producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True)
    try:
        await start_client(producer)
        sending = []
        for source, blame in suspects.items():
            key, value, headers = records.write(source, blame)
            sending.append(
                await producer.send(kafka.suspects_topic, key=key, value=value, headers=headers, partition=0)
            )
        await asyncio.gather(*sending)
    finally:
        await stop_producer(producer)
