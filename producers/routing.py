"""Replies find those who wait for them: one partition of the reply topic, read without a group.

Every client reads one partition, which its requests name in `kafka_replyPartition`. Others may have chosen the same
one: what nobody here expects is left alone.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline import contract
from pipeline.settings import KafkaSettings
from producers.cluster import look_up, reaching
from producers.errors import RepliesUnreadable
from producers.replies import Reply

log = logging.getLogger(__name__)

_POLL_MS = 1_000


class ReplySource(Protocol):
    """What a router reads from."""

    def batches(self) -> AsyncIterator[Sequence[Reply]]: ...


class ReplyReader:
    """Reads committed replies of one partition: `partition`, else one chosen at random; from `start`, else its end.

    Once `start()` has returned no reply to a request sent from then on can be missed.
    """

    def __init__(self, kafka: KafkaSettings, *, partition: int | None = None, start: int | None = None) -> None:
        self.topic = kafka.reply_topic
        self._kafka = kafka
        self._wanted = partition
        self._start = start
        self._consumer: Any = None
        self._place = TopicPartition(self.topic, -1)
        self._position = -1

    @property
    def partition(self) -> int:
        return int(self._place.partition)

    @property
    def position(self) -> int:
        """The offset after the last reply given out."""
        return self._position

    async def start(self) -> None:
        """Raises `BrokerUnreachable`, `TopicMissing`, or `RepliesUnreadable` for a place that does not exist."""
        cluster = await look_up(self._kafka, self.topic)
        self._place = TopicPartition(self.topic, self._choose(cluster.topics[self.topic].partitions))
        self._consumer = AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # retention overtook us: go on with what is left
            enable_auto_commit=False,
        )
        try:
            with reaching(self._kafka):
                await self._consumer.start()
                self._consumer.assign([self._place])
                end = (await self._consumer.end_offsets([self._place]))[self._place]
                self._position = await self._first_position(end)
                self._consumer.seek(self._place, self._position)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def batches(self) -> AsyncIterator[Sequence[Reply]]:
        """Replies as they come, many at a time, for ever. Everyone's on this partition, not only one's own.

        Kafka's absence is waited out; raises `RepliesUnreadable` for what waiting does not mend.
        """
        while True:
            try:
                records = (await self._consumer.getmany(timeout_ms=_POLL_MS)).get(self._place)
            except KafkaError as error:
                raise RepliesUnreadable(
                    f"Topic {self.topic}, partition {self.partition} cannot be read: {error!r}."
                ) from error
            if records:
                self._position = records[-1].offset + 1
                yield [_reply(record) for record in records]

    def _choose(self, partitions: int) -> int:
        if self._wanted is None:
            return secrets.randbelow(partitions)
        if not 0 <= self._wanted < partitions:
            raise RepliesUnreadable(
                f"Topic {self.topic} has no partition {self._wanted}: it has {partitions}, counted from 0."
            )
        return self._wanted

    async def _first_position(self, end: int) -> int:
        if self._start is None:
            return end
        if self._start > end:
            raise RepliesUnreadable(
                f"Topic {self.topic}, partition {self.partition} ends at offset {end}, before offset {self._start} "
                "where reading was to go on: the topic was made anew, and the replies are gone."
            )
        first = (await self._consumer.beginning_offsets([self._place]))[self._place]
        if first > self._start:
            log.warning(
                "topic %s, partition %d: replies from offset %d to %d are past their retention and lost",
                *(self.topic, self.partition, self._start, first),
            )
        return self._start


class ReplyRouter:
    """Hands each reply to the one who expects it. A repeated one (at-least-once workers) finds nobody, and is left."""

    def __init__(self, source: ReplySource) -> None:
        self._source = source
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failure: RepliesUnreadable | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._route(), name="reply-router")

    async def stop(self) -> None:
        """Those still waiting get `RepliesUnreadable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail(RepliesUnreadable("The client was closed before the reply came."))

    def expect(self, correlation_id: bytes) -> asyncio.Future[Reply]:
        """The reply to come; register before sending. Cancel the future to expect it no longer.

        Raises `RepliesUnreadable` when reading has stopped, `ValueError` when the id is expected already.
        """
        if self._failure is not None:
            raise self._failure
        if correlation_id in self._waiting:
            raise ValueError(f"correlation id {correlation_id!r} is already waited for: give each request its own")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = future
        future.add_done_callback(lambda _: self._waiting.pop(correlation_id))
        return future

    async def _route(self) -> None:
        try:
            async for batch in self._source.batches():
                for reply in batch:
                    future = self._waiting.get(reply.correlation_id)
                    if future is not None and not future.done():
                        future.set_result(reply)
        except Exception as error:  # noqa: BLE001  # whatever it was, those who wait must hear of it
            self._fail(RepliesUnreadable(f"Reading the reply topic stopped: {error!r}. Open a new client."))

    def _fail(self, failure: RepliesUnreadable) -> None:
        self._failure = self._failure or failure
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._failure)
                future.exception()  # marks it as seen: some may have stopped waiting by now


def _reply(record: Any) -> Reply:
    headers = dict(record.headers)
    return Reply(headers.get(contract.CORRELATION_ID, b""), record.value or b"", headers)
