"""The suspects: requests that were in the engine of a worker that died, as all workers of the group know them.

They are kept in a compacted topic, so that counts survive restarts of everything and follow a partition to its next
owner. Parents of workers write suspicions there; workers read them, and withdraw one when its request is answered.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.settings import KafkaSettings
from pelton.pipeline.wire.records import Source
from pelton.workers.kafka.consumers import feed_consumer
from pelton.workers.quarantine.crash_history import CrashHistory, read_key, read_value, suspect_key, suspect_value

log = logging.getLogger(__name__)

POLL_MS = 5_000
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0


class SuspectTable:
    """What one worker knows. Read on the inference thread, written on the event loop: each call is atomic."""

    def __init__(self) -> None:
        self._blames: dict[Source, CrashHistory] = {}
        self.on_settled: Callable[[Source], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._blames)

    def get(self, source: Source) -> CrashHistory | None:
        return self._blames.get(source)

    def set(self, source: Source, blame: CrashHistory) -> None:
        self._blames[source] = blame

    def forget(self, source: Source) -> None:
        self._blames.pop(source, None)

    def settle(self, sources: Iterable[Source]) -> None:
        """These are answered and committed: whatever they were suspected of is over."""
        for source in sources:
            if self._blames.pop(source, None) is not None:
                self.on_settled(source)

    def settle_if(self, answered: Callable[[Source], bool]) -> None:
        """The same for all of which it is true: a worker that dies leaves behind what it had no time to withdraw."""
        self.settle([source for source in self._blames if answered(source)])


class SuspectFeed:
    """Keeps a table in step with the topic, both ways."""

    def __init__(self, kafka: KafkaSettings, table: SuspectTable) -> None:
        self._kafka = kafka
        self._table = table
        self._partition = TopicPartition(kafka.suspects_topic, 0)
        self._consumer = feed_consumer(kafka, auto_offset_reset="earliest")
        self._settled: asyncio.Queue[Source] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._read = asyncio.Condition()

    async def start(self) -> None:
        """Read the topic to its end, then follow it. Raises `KafkaError`."""
        await self._consumer.start()
        ends = await self._consumer.end_offsets([self._partition])
        self._consumer.assign([self._partition])
        self._table.on_settled = self._settled.put_nowait
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._withdraw())]
        await self._catch_up(ends[self._partition])
        if self._table:
            log.info("%d requests are suspected of having ended a worker: they run apart from others", len(self._table))

    async def stop(self) -> None:
        """Withdraw what is settled, then end. What cannot be written any more costs an isolated run, no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._kafka.request_timeout_ms / 1000):
                await self._settled.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._consumer.stop()

    async def _catch_up(self, end: int) -> None:
        """Return when everything before offset `end` is in the table."""
        async with self._read:
            while await self._consumer.position(self._partition) < end:
                await self._read.wait()

    async def _follow(self) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except KafkaError as error:
                log.warning("suspects cannot be read from topic %s, trying again: %r", self._partition.topic, error)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for record in fetched.get(self._partition, ()):
                self._apply(record)
            async with self._read:
                self._read.notify_all()

    def _apply(self, record: ConsumerRecord) -> None:
        try:
            group_id, source = read_key(record.key or b"")
            blame = None if record.value is None else read_value(record.value)
        except ValueError as error:
            log.warning("ignoring record %d of topic %s: %s", record.offset, record.topic, error)
            return
        if group_id != self._kafka.group_id:
            return
        if blame is None:
            self._table.forget(source)
        else:
            self._table.set(source, blame)

    async def _withdraw(self) -> None:
        """Write a tombstone for each that is settled, with a producer made for it: most workers never need one."""
        while True:
            settled = [await self._settled.get()]
            while not self._settled.empty():
                settled.append(self._settled.get_nowait())
            await _publish_until_taken(self._kafka, dict.fromkeys(settled))
            for _ in settled:
                self._settled.task_done()


async def publish_suspects(kafka: KafkaSettings, suspects: Mapping[Source, CrashHistory | None]) -> None:
    """Write suspicions; None withdraws one. Raises `KafkaError` or `OSError`."""
    producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True)
    try:
        await producer.start()
        sending = [
            await producer.send(
                kafka.suspects_topic,
                key=suspect_key(kafka.group_id, source),
                value=None if blame is None else suspect_value(blame),
                partition=0,
            )
            for source, blame in suspects.items()
        ]
        await asyncio.gather(*sending)
    finally:
        await producer.stop()


async def _publish_until_taken(kafka: KafkaSettings, suspects: Mapping[Source, CrashHistory | None]) -> None:
    backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
    while True:
        try:
            return await publish_suspects(kafka, suspects)
        except (KafkaError, OSError) as error:
            log.warning("topic %s cannot be written to, trying again: %r", kafka.suspects_topic, error)
            await asyncio.sleep(backoff.next_s())
