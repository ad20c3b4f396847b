"""Requests on their way into Kafka: bytes, headers, and the acknowledgement that they are stored."""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pelton.pipeline.errors import RequestTooLarge
from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane
from pelton.pipeline.wire.header_values import INT32_BYTES
from pelton.producers.errors import BodyInvalid, ClientNotOpen, SendFailed
from pelton.producers.kafka.cluster import USUAL_LIMIT, look_up, reaching
from pelton.producers.kafka.sender_spans import SenderSpans, ends_with

log = logging.getLogger(__name__)

Body = Mapping[str, Any] | bytes
"""A chat-completions body, as an object or as the JSON it becomes."""

LINGER_MS = 5
"""How long records gather into a batch: little beside the time a model takes, much for the broker's sake."""
BATCH_BYTES = 262_144
"""Per partition. Everybody who meets a full batch waits for a round trip and is woken by it: with thousands of requests
under way and small batches, most of the time would go into waking them, until their wait ends as a failure."""


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Where Kafka stored a request."""

    partition: int
    offset: int


def new_correlation_id() -> bytes:
    return secrets.token_hex(16).encode()


def request_headers(  # noqa: PLR0913  # all that may be said of a request, each by name
    correlation_id: bytes,
    address: ReplyAddress,
    *,
    tenant: str | None = None,
    session: str | None = None,
    deadline_ms: int | None = None,
    priority: Lane | None = None,
    stream: bool = False,
) -> list[tuple[str, bytes]]:
    """`deadline_ms` is Unix milliseconds. A request of a session must have it as its key too. `stream` asks for partial
    text ahead of the reply.
    """
    headers = [
        (contract.CORRELATION_ID, correlation_id),
        (contract.REPLY_TOPIC, address.topic.encode()),
        (contract.REPLY_PARTITION, address.partition.to_bytes(INT32_BYTES, "big", signed=True)),
    ]
    if tenant is not None:
        headers.append((contract.TENANT, tenant.encode()))
    if session is not None:
        headers.append((contract.SESSION, session.encode()))
    if deadline_ms is not None:
        headers.append((contract.DEADLINE, str(deadline_ms).encode()))
    if priority is not None:
        headers.append((contract.PRIORITY, priority.encode()))
    if stream:
        headers.append((contract.STREAM, b"true"))
    return headers


def _as_json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BodyInvalid(f"The body cannot be written as JSON: {error}.") from None


class RequestSender:
    """An idempotent producer for one request topic: a request it retries is stored once."""

    def __init__(self, kafka: KafkaSettings, topic: str, traces: Traces | None = None) -> None:
        self.topic = topic
        self.spans = SenderSpans(traces, topic)
        self._kafka = kafka
        self._tenants = kafka.tenant_policy()
        self._limit = USUAL_LIMIT
        self._producer: Any = None
        self._broken = False
        self._replacing = asyncio.Lock()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> None:
        """Raises `BrokerUnreachable` or `TopicMissing`."""
        cluster = await look_up(self._kafka, self.topic)
        self._limit = cluster.topics[self.topic].max_message_bytes
        await self._start_producer()

    async def stop(self) -> None:
        """Send what is waiting, for a few seconds at most: without a broker it would wait for ever."""
        if self._producer is None:
            return
        if (error := await stop_producer(self._producer)) is not None:
            log.warning("requests may have been left unsent, Kafka did not take them: %r", error)

    async def post(
        self, body: Body, headers: Sequence[tuple[str, bytes]], *, key: bytes | None = None
    ) -> asyncio.Future[Any]:
        """Put a request into the current batch; give the result to `acknowledgement`. Waits while batches are full.

        Requests with the same `key` stay in order. Raises `ClientNotOpen`, `BodyInvalid`, `RequestTooLarge`,
        `SendFailed` or `BrokerUnreachable`; then the request was not sent.
        """
        if self._producer is None:
            raise ClientNotOpen("InferenceClient")
        value = body if isinstance(body, bytes) else _as_json(body)
        if key is None:
            return await self._post(value, headers, key)
        # Where the producer waits, for the topic's partitions or for room in a batch, it lets others past.
        async with self._turns.setdefault(key, asyncio.Lock()):
            return await self._post(value, headers, key)

    async def acknowledgement(self, posted: asyncio.Future[Any]) -> Acknowledged:
        """Wait until Kafka has stored a request for good. Raises `SendFailed`."""
        try:
            stored = await posted
        except KafkaError as error:
            self._broken = True
            raise SendFailed(f"Kafka did not acknowledge a request for topic {self.topic}: {error!r}.") from error
        return Acknowledged(stored.partition, stored.offset)

    async def _post(self, value: bytes, headers: Sequence[tuple[str, bytes]], key: bytes | None) -> asyncio.Future[Any]:
        if self._broken:
            await self._replace_producer()
        traced, span = self.spans.sending(headers, value)
        try:
            signed = self._tenants.signed("request", traced, value)
            future: asyncio.Future[Any] = await self._producer.send(self.topic, value, key, headers=signed)
        except MessageSizeTooLargeError:
            if span is not None:
                span.end(error=RequestTooLarge.code)
            raise RequestTooLarge(
                f"The request has {len(value):,} bytes, with its headers more than the {self._limit:,} that topic "
                f"{self.topic} takes: send less text, or have the topic's max.message.bytes raised."
            ) from None
        except KafkaError as error:
            self._broken = True
            if span is not None:
                span.end(error=type(error).__name__)
            raise SendFailed(f"Kafka does not take requests for topic {self.topic}: {error!r}.") from error
        if span is not None:
            ends_with(span, future)
        return future

    async def _start_producer(self) -> None:
        producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=min(BATCH_BYTES, self._limit),
            max_request_size=self._limit,  # a batch that the broker refuses for its size spoils the producer
        )
        try:
            with reaching(self._kafka):
                await start_client(producer)
        except BaseException:
            await stop_producer(producer)
            raise
        self._producer = producer

    async def _replace_producer(self) -> None:
        """After a failed batch an idempotent producer may refuse all later ones: their sequence has a gap."""
        async with self._replacing:
            if self._broken:
                await self.stop()
                await self._start_producer()
                self._broken = False
