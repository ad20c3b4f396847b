"""Committed replies of one partition of the reply topic, read without a group."""

import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.sparse_log import SparseLog
from pelton.pipeline.wire import contract
from pelton.producers.errors import RepliesUnreadable
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.fetching import Unreadable, fetch
from pelton.producers.replies import Reply

log = logging.getLogger(__name__)

_POLL_MS = 1_000


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
        self._unreadable = SparseLog()

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
                await start_client(self._consumer)
                self._consumer.assign([self._place])
                end = (await self._consumer.end_offsets([self._place]))[self._place]
                self._position = await self._first_position(end)
                self._consumer.seek(self._place, self._position)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    async def batches(self) -> AsyncIterator[Sequence[Reply]]:
        """Replies as they come, many at a time, for ever. Everyone's on this partition, not only one's own.

        Kafka's absence is waited out; raises `RepliesUnreadable` for what waiting does not mend.
        """
        while True:
            try:
                records = (await fetch(self._consumer, [self._place], _POLL_MS)).get(self._place)
            except KafkaError as error:
                raise RepliesUnreadable(
                    f"Topic {self.topic}, partition {self.partition} cannot be read: {error!r}."
                ) from error
            if records:
                self._position = records[-1].offset + 1
                yield [as_reply(record) for record in records if not self._is_unreadable(record)]

    def _is_unreadable(self, record: Any) -> bool:
        """Nobody's reply: workers write none that cannot be read."""
        if not isinstance(record, Unreadable):
            return False
        if count := self._unreadable.due():
            why = shown(repr(record.error))
            log.warning("passing over offset %d of %s (1 of %d): %s", record.offset, self._place, count, why)
        return True

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


def as_reply(record: Any) -> Reply:
    """A record of a reply topic."""
    headers = dict(record.headers)
    return Reply(headers.get(contract.CORRELATION_ID, b""), record.value or b"", headers)
