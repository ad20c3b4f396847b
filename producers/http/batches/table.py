"""What is known of all batches: the compacted topic, read from its beginning and followed, by every server."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.http.batches.documents import (
    CANCEL_SUFFIX,
    STATE_SUFFIX,
    Batch,
    parse_cancel,
    parse_order,
    parse_progress,
    partition_of,
)
from pelton.producers.http.errors import Unavailable
from pelton.producers.kafka.cluster import reaching

log = logging.getLogger(__name__)

POLL_MS = 500
LOOK_S = 0.05
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0


class BatchTable:
    """Lives on the event loop; `run` follows the topic for as long as the server lives."""

    def __init__(self, kafka: KafkaSettings, topic: str, partitions: int) -> None:
        self._kafka = kafka
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._batches: dict[str, Batch] = {}
        self._consumer: Any = None
        self._changed = asyncio.Condition()

    @property
    def partitions(self) -> int:
        return len(self._places)

    def get(self, batch_id: str) -> Batch | None:
        return self._batches.get(batch_id)

    def of_tenant(self, tenant: str) -> list[Batch]:
        """The newest first."""
        found = [batch for batch in self._batches.values() if batch.order.tenant == tenant]
        return sorted(found, key=lambda batch: (batch.order.created_at, batch.order.id), reverse=True)

    def in_partition(self, partition: int) -> Iterator[Batch]:
        for batch in list(self._batches.values()):
            if partition_of(batch.order.id, self.partitions) == partition:
                yield batch

    async def start(self) -> None:
        """Raises `BrokerUnreachable`."""
        self._consumer = AIOKafkaConsumer(
            **self._kafka.client_options(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            with reaching(self._kafka):
                await start_client(self._consumer)
                self._consumer.assign(self._places)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    async def run(self) -> None:
        """Follow the topic for ever."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            except KafkaError as error:
                log.warning("topic %s cannot be read, trying again: %r", self._places[0].topic, error)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for records in fetched.values():
                for record in records:
                    self._take_in(record.key, record.value)
            async with self._changed:
                self._changed.notify_all()

    async def caught_up(self, partitions: list[int] | None = None) -> None:
        """Wait until everything that is on the topic by now has been read. Raises `KafkaError`."""
        places = self._places if partitions is None else [self._places[partition] for partition in partitions]
        # The last stable offset: below it nothing is open any more.
        ends = await self._consumer.end_offsets(places)
        while not all([await self._consumer.position(place) >= ends[place] for place in places]):
            await self.changed(LOOK_S)

    async def until_known(self, batch_id: str, timeout_s: float) -> Batch:
        """The batch, as soon as it has been read. Raises `Unavailable` when it does not come in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: batch_id in self._batches)
        except TimeoutError:
            raise Unavailable("The batch was stored, but Kafka does not give it back: look for it later.") from None
        return self._batches[batch_id]

    async def changed(self, timeout_s: float) -> None:
        """Wait for news, or for as long as `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait()
        except TimeoutError:
            return

    def _take_in(self, key: bytes | None, value: bytes | None) -> None:
        name = (key or b"").decode("utf-8", "replace")
        batch_id = name.removesuffix(CANCEL_SUFFIX).removesuffix(STATE_SUFFIX)
        try:
            self._apply(name, batch_id, value)
        except (ValueError, TypeError, KeyError) as error:
            log.warning("ignoring a record of topic %s, key %.80r: %r", self._places[0].topic, name, error)

    def _apply(self, name: str, batch_id: str, value: bytes | None) -> None:
        if value is None:
            if name == batch_id:
                self._batches.pop(batch_id, None)
            return
        if name == batch_id:
            self._batches.setdefault(batch_id, Batch(parse_order(value)))
            return
        batch = self._batches.get(batch_id)
        if batch is None:
            raise ValueError("it is of no batch that is known")
        if name.endswith(CANCEL_SUFFIX):
            batch.cancelled_at = batch.cancelled_at or parse_cancel(value)
        else:
            batch.progress = parse_progress(value)
