"""Cancels: which requests their senders do not want any more.

A cancel is a record with the request's correlation id (as a header, or else as its key) and tenant. Nobody knows which
worker has the request, so every worker reads all of them, from the topic's end on, in no group. They are remembered for
a while: a request that is still in Kafka when its cancel comes is cancelled as well.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import ConsumerRecord

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.errors import Cancelled, TenantNotProven
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.sparse_log import SparseLog
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import correlation_id
from pelton.pipeline.wire.records import Headers
from pelton.pipeline.wire.tenants import TenantPolicy
from pelton.workers.cancellation.cancelled_ids import CancelledIds
from pelton.workers.kafka.consumers import feed_consumer
from pelton.workers.notices import ABOUT_KAFKA
from pelton.workers.open_requests import SenderId
from pelton.workers.requests import Delivery

log = logging.getLogger(__name__)

POLL_MS = 5_000
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
MAX_AHEAD_MS = 30_000
"""How far a sender's clock may be ahead."""


class Cancels:
    """Cancels received in the last minutes."""

    def __init__(self, tenants: TenantPolicy) -> None:
        self._tenants = tenants
        self._ids = CancelledIds()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def note(self, headers: Headers, key: bytes | None, value: bytes | None, timestamp_ms: int) -> SenderId:
        """Remember a cancel; returns whose requests it is about.

        It holds for what was sent until now, even where it claims to come from the future.
        A request and its cancel are dated by the same clock, the sender's, which may be ahead of ours by a little.
        Raises `ValueError` for a record that names no request, and `TenantNotProven`.
        """
        last = {name: value for name, value in dict(headers).items() if value is not None}
        wanted = correlation_id(last) or key
        if not wanted:
            raise ValueError("it names no request")
        tenant = last.get(contract.TENANT, b"")
        self._tenants.check("cancel", tenant.decode("utf-8", "replace"), last, value)
        latest_ms = round(time.time() * 1000) + MAX_AHEAD_MS
        self._ids.add(tenant, wanted, min(timestamp_ms, latest_ms))
        return tenant, wanted

    def covers(self, delivery: Delivery) -> bool:
        """Whether this request was cancelled: not one that was sent under the same id after the cancel.

        A request without an id of its sender's own cannot be: its place in Kafka is an id that anybody can guess.
        """
        envelope = delivery.envelope
        if not envelope.id_given:
            return False
        cancelled_ms = self._ids.cancelled_ms(envelope.tenant.encode(), envelope.correlation_id)
        return cancelled_ms is not None and delivery.record.timestamp_ms <= cancelled_ms


def cancelled() -> Cancelled:
    return Cancelled("The request was cancelled by its sender.")


class CancelTopicReader:
    """Follows the topic of cancels."""

    def __init__(
        self, kafka: KafkaSettings, cancels: Cancels, apply: Callable[[Sequence[SenderId]], Awaitable[None]]
    ) -> None:
        """`apply` is awaited with new ones."""
        self._cancels = cancels
        self._apply = apply
        self._topic = kafka.cancels_topic
        self._consumer = feed_consumer(kafka, self._topic, auto_offset_reset="latest")
        self._ignored = SparseLog()

    async def start(self) -> None:
        """From now on no cancel is missed. Raises `KafkaError`."""
        await start_client(self._consumer)
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)

    async def stop(self) -> None:
        await stop_consumer(self._consumer)

    async def run(self) -> None:
        """Follow the topic for ever, whatever is written there."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except Exception as error:  # noqa: BLE001  # a record may be of any kind: nothing in it may end this task
                log.warning(
                    "cancels cannot be read from topic %s, trying again: %s", self._topic, shown(repr(error)),
                    extra=ABOUT_KAFKA,
                )  # fmt: skip
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            noted = [self._note(record) for records in fetched.values() for record in records]
            if new := [sender for sender in noted if sender is not None]:
                await self._apply(new)

    def _note(self, record: ConsumerRecord) -> SenderId | None:
        try:
            return self._cancels.note(record.headers, record.key, record.value, record.timestamp)
        except (ValueError, TenantNotProven) as error:
            if count := self._ignored.due():
                log.warning(
                    "ignoring record %d of topic %s (1 of %d): %s", record.offset, self._topic, count, shown(str(error))
                )
            return None
