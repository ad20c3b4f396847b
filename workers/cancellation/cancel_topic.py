"""Cancels: which requests their senders do not want any more.

A cancel is a record with the request's correlation id (as a header, or else as its key) and tenant. Nobody knows which
worker has the request, so every worker reads all of them, from the topic's end on, in no group. They are remembered for
a while: a request that is still in Kafka when its cancel comes is cancelled as well.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from cachetools import TTLCache

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.errors import Cancelled
from pelton.pipeline.settings import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import correlation_id
from pelton.pipeline.wire.records import Headers
from pelton.workers.kafka.consumers import feed_consumer
from pelton.workers.requests import Delivery

log = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
REMEMBERED_S = 600.0
POLL_MS = 5_000
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0

_Wanted = tuple[bytes, bytes]
"""Tenant and correlation id."""


class CancelledIds:
    """What was cancelled of late."""

    def __init__(self) -> None:
        self._cancelled_ms: TTLCache[_Wanted, int] = TTLCache(MOST_REMEMBERED, REMEMBERED_S)

    def __bool__(self) -> bool:
        return bool(self._cancelled_ms)

    def note(self, headers: Headers, key: bytes | None, timestamp_ms: int) -> bool:
        """Remember a cancel; False for a record that names no request."""
        last = {name: value for name, value in dict(headers).items() if value is not None}
        wanted = correlation_id(last) or key
        if not wanted:
            return False
        self._cancelled_ms[last.get(contract.TENANT, b""), wanted] = timestamp_ms
        return True

    def covers(self, ticket: Delivery) -> bool:
        """Whether this request was cancelled: not one that was sent under the same id after the cancel."""
        envelope = ticket.envelope
        cancelled_ms = self._cancelled_ms.get((envelope.tenant.encode(), envelope.correlation_id))
        return cancelled_ms is not None and ticket.record.timestamp_ms <= cancelled_ms


def cancelled() -> Cancelled:
    return Cancelled("The request was cancelled by its sender.")


class CancelTopicReader:
    """Follows the topic of cancels."""

    def __init__(self, kafka: KafkaSettings, cancels: CancelledIds, apply: Callable[[], Awaitable[None]]) -> None:
        """`apply` is awaited when there are new ones."""
        self._cancels = cancels
        self._apply = apply
        self._topic = kafka.cancels_topic
        self._consumer = feed_consumer(kafka, self._topic, auto_offset_reset="latest")

    async def start(self) -> None:
        """From now on no cancel is missed. Raises `KafkaError`."""
        await self._consumer.start()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)

    async def stop(self) -> None:
        await self._consumer.stop()

    async def run(self) -> None:
        """Follow the topic for ever."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except UnicodeDecodeError as error:  # aiokafka would fail at the same record for ever
                log.warning(
                    "skipping to the end of topic %s, which has a header name that is no text: %r", self._topic, error
                )
                await self._consumer.seek_to_end()
                continue
            except KafkaError as error:
                log.warning("cancels cannot be read from topic %s, trying again: %r", self._topic, error)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            noted = [self._note(record) for records in fetched.values() for record in records]
            if any(noted):
                await self._apply()

    def _note(self, record: ConsumerRecord) -> bool:
        noted = self._cancels.note(record.headers, record.key, record.timestamp)
        if not noted:
            log.warning("ignoring record %d of topic %s: it names no request", record.offset, record.topic)
        return noted
