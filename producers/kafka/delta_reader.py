"""Partial text of answers, read as it comes: what is lost of it the committed reply has as well."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.sparse_log import SparseLog
from pelton.pipeline.wire import contract
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.fetching import Unreadable, fetch

log = logging.getLogger(__name__)

POLL_MS = 1_000
RETRY_FIRST_S, RETRY_MAX_S = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an attempt at an answer; `at` is how many characters come before it."""

    attempt: int
    at: int
    content: str
    model: str


class DeltaReader:
    """Follows the partition of the stream topic that belongs to a reply partition, from its end on."""

    def __init__(self, kafka: KafkaSettings, topic: str, reply_partition: int) -> None:
        self._kafka = kafka
        self._topic = topic
        self._reply_partition = reply_partition
        self._place = TopicPartition(topic, -1)
        self._consumer: Any = None
        self._expected: dict[bytes, asyncio.Queue[Delta]] = {}
        self._task: asyncio.Task[None] | None = None
        self._trouble = SparseLog()

    async def start(self) -> None:
        """No piece of a request sent from now on is missed. Raises `BrokerUnreachable` or `TopicMissing`."""
        partitions = (await look_up(self._kafka, self._topic)).topics[self._topic].partitions
        self._place = TopicPartition(self._topic, self._reply_partition % partitions)
        self._consumer = AIOKafkaConsumer(**self._kafka.client_options(), auto_offset_reset="latest")
        try:
            with reaching(self._kafka):
                await start_client(self._consumer)
                self._consumer.assign([self._place])
                await self._consumer.position(self._place)
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        self._task = asyncio.create_task(self._read(), name="partial text")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await stop_consumer(self._consumer)

    def expect(self, correlation_id: bytes) -> asyncio.Queue[Delta]:
        """Where the pieces of a request's answer come, in the order they were sent; until `forget`."""
        return self._expected.setdefault(correlation_id, asyncio.Queue())

    def forget(self, correlation_id: bytes) -> None:
        self._expected.pop(correlation_id, None)

    async def _read(self) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                records = (await fetch(self._consumer, [self._place], POLL_MS)).get(self._place, [])
            except (KafkaError, OSError, TimeoutError) as error:
                if count := self._trouble.due():
                    log.warning("partial text cannot be read (%d times), trying again: %r", count, error)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for record in records:
                if not isinstance(record, Unreadable):
                    self._pass_on(dict(record.headers), record.value)

    def _pass_on(self, headers: Mapping[str, bytes], value: bytes | None) -> None:
        expected = self._expected.get(headers.get(contract.CORRELATION_ID, b""))
        if expected is not None and (delta := read_delta(value)) is not None:
            expected.put_nowait(delta)


def read_delta(value: bytes | None) -> Delta | None:
    """None for what no worker has written."""
    try:
        told = orjson.loads(value or b"")
        fields = told["attempt"], told["at"], told["content"], told["model"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not all(isinstance(field, kind) for field, kind in zip(fields, (int, int, str, str), strict=True)):
        return None
    return Delta(*fields)
