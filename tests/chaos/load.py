"""The load: publishes requests at a steady rate through whatever happens to the broker, and remembers each."""

import asyncio
import logging
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pelton.pipeline.settings.kafka import KafkaSettings
from tests.chaos.history import Sent
from tests.chaos.mix import Mix, Request

log = logging.getLogger(__name__)

RETRY_S = 0.5
STOP_S = 10.0
CANCELS_AHEAD_MS, CANCELS_HEARD_S = 20_000, 3.0
"""What was sent until then is cancelled, and this is how long every worker has to hear of it."""
BATCH_BYTES = 262_144
"""Per partition: as much as gathers while the broker restarts."""


class Load:
    """An idempotent producer that is replaced when a send fails; a request is never sent a second time.

    So a request whose send failed may be stored or not, and at most once.
    """

    def __init__(self, kafka: KafkaSettings, topic: str | None = None) -> None:
        """`topic` is the first of the request topics, if none is given."""
        self._kafka = kafka
        self._topic = topic or kafka.request_topics[0]
        self._producer: Any = None
        self._broken = True
        self._replacing = asyncio.Lock()
        self._places: dict[str, tuple[Request, str | None]] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many requests so far."""
        return len(self._places)

    @property
    def sent(self) -> tuple[Sent, ...]:
        """All requests so far, with the places that Kafka has acknowledged."""
        return tuple(
            Sent(
                *(request.correlation_id, content.kind, content.due, place, content.shareable, content.letter),
                *(request.reply_topic, request.reply_partition, request.ends, request.said),
            )
            for request, place in self._places.values()
            for content in (request.content,)
        )

    async def send(self, request: Request) -> None:
        """Publish one request; returns before it is acknowledged."""
        while True:
            producer = await self._sound_producer()
            try:
                stored = await producer.send(
                    *(self._topic, request.content.value, request.key, request.partition),
                    headers=request.headers(round(time.time() * 1000)),
                )
                break
            except AssertionError:  # aiokafka's word for a partition that it has not heard of yet
                await producer.client.force_metadata_update()
                await asyncio.sleep(RETRY_S)
            except KafkaError as error:  # it has not joined a batch, so it is surely not sent
                log.warning("%s not accepted, trying again: %r", request.correlation_id, error)
                self._broken = True
        self._places[request.correlation_id] = (request, None)
        task = asyncio.create_task(self._settle(request, stored))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def note(self, request: Request, place: str | None) -> None:
        """Remember a request that was sent in another way."""
        self._places[request.correlation_id] = (request, place)

    async def settle(self) -> None:
        """Wait for the acknowledgements that are still to come."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=STOP_S)

    async def close(self) -> None:
        """As `settle`, and give up those that do not come."""
        await self.settle()
        await self._stop_producer()
        self._broken = True
        for task in self._settling:
            task.cancel()

    async def _settle(self, request: Request, stored: asyncio.Future[Any]) -> None:
        try:
            metadata = await stored
        except KafkaError as error:
            log.warning("%s may be stored or not: %r", request.correlation_id, error)
            self._broken = True
            return
        self._places[request.correlation_id] = (request, f"{self._topic}-{metadata.partition}-{metadata.offset}")

    async def _sound_producer(self) -> Any:
        async with self._replacing:
            while self._broken:
                await self._stop_producer()
                await self._start_producer()
            return self._producer

    async def _start_producer(self) -> None:
        self._producer = AIOKafkaProducer(
            **self._kafka.client_options(), enable_idempotence=True, acks="all", max_batch_size=BATCH_BYTES
        )
        try:
            await self._producer.start()
            self._broken = False
        except (KafkaError, OSError, AssertionError) as error:  # aiokafka asserts that a broker it reached knows itself
            log.warning("no producer, trying again: %r", error)
            await asyncio.sleep(RETRY_S)

    async def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), STOP_S)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("a producer did not stop cleanly: %r", error)


async def take_back(kafka: KafkaSettings, load: Load, mix: Mix) -> None:
    """Send requests that were cancelled beforehand: whatever odd records came by, every worker hears cancels."""
    requests = [mix.taken_back(number, number) for number in range(kafka.partitions)]
    ahead_ms = round(time.time() * 1000) + CANCELS_AHEAD_MS
    async with AIOKafkaProducer(**kafka.client_options()) as producer:
        for request in requests:
            name = request.correlation_id.encode()
            await producer.send_and_wait(kafka.cancels_topic, b"", name, timestamp_ms=ahead_ms)
    await asyncio.sleep(CANCELS_HEARD_S)
    for request in requests:
        await load.send(request)
    await load.settle()
