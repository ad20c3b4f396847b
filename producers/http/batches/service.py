"""Batches as a server's routes see them: made, looked at, listed and cancelled, whichever server works on them."""

import asyncio
import secrets
import socket
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.http.batches.documents import Batch, Order, cancel_record, order_record, partition_of
from pelton.producers.http.batches.owner import PartitionOwner, Places
from pelton.producers.http.batches.run import RunParts
from pelton.producers.http.batches.table import BatchTable
from pelton.producers.http.errors import NotFound, Unavailable
from pelton.producers.http.file_store import FileStore
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.cluster import reaching
from pelton.producers.kafka.partition_shares import PartitionShares, share

KNOWN_S = 10.0


class BatchService:
    """Lives on the event loop, from `start` to `stop`. `watch` has to run all the while."""

    def __init__(
        self,
        settings: Settings,
        store: FileStore,
        cancels: CancelSender,
        partitions: int,
        traces: Traces | None = None,
    ) -> None:
        self._kafka = settings.kafka
        self._topic = settings.serve.batches_topic
        self._table = BatchTable(settings.kafka, self._topic, partitions)
        self._parts = RunParts(settings, store, cancels, traces)
        self._places = Places(settings.serve.max_batches_running)
        self._producer: Any = None

    async def start(self) -> None:
        """Raises `BrokerUnreachable`."""
        self._producer = AIOKafkaProducer(**self._kafka.client_options(), enable_idempotence=True)
        with reaching(self._kafka):
            await start_client(self._producer)
        await self._table.start()

    async def stop(self) -> None:
        await self._table.stop()
        if self._producer is not None:
            await stop_producer(self._producer)

    async def watch(self) -> None:
        """Follow the topic, and work on this server's share of the batches, for ever."""
        shares = PartitionShares(lambda place: PartitionOwner(place.partition, self._table, self._parts, self._places))
        name = f"{self._kafka.group_id}-batches"
        client_id = f"serve-{socket.gethostname()}-{secrets.token_hex(4)}"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._table.run())
            await self._table.caught_up()
            await share(self._kafka, [self._topic], shares, group_id=name, client_id=client_id)

    async def create(self, tenant: str, input_file_id: str, metadata: dict[str, str] | None) -> Batch:
        """Returns when it is stored and known. Raises `Unavailable`."""
        order = Order(f"batch_{secrets.token_hex(12)}", tenant, input_file_id, metadata, int(time.time()))
        await self._send(order.id, *order_record(order))
        return await self._table.until_known(order.id, KNOWN_S)

    def get(self, tenant: str, batch_id: str) -> Batch:
        """Raises `NotFound`."""
        batch = self._table.get(batch_id)
        if batch is None or batch.order.tenant != tenant:
            raise NotFound(f"There is no batch {batch_id[:80]!r}.", code="batch_not_found", param="batch_id")
        return batch

    def reading(self, tenant: str, file_id: str) -> str | None:
        """The id of a batch that is not ended and has this file as its input, if there is one."""
        for batch in self._table.of_tenant(tenant):
            if batch.order.input_file_id == file_id and not batch.progress.ended:
                return batch.order.id
        return None

    def listed(self, tenant: str) -> list[Batch]:
        """The newest first."""
        return self._table.of_tenant(tenant)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Ask for its end; one that has ended stays as it is. Raises `NotFound` or `Unavailable`."""
        batch = self.get(tenant, batch_id)
        if not batch.progress.ended and batch.cancelled_at is None:
            at = int(time.time())
            await self._send(batch_id, *cancel_record(batch_id, at))
            batch.cancelled_at = at
        return batch

    async def _send(self, batch_id: str, key: bytes, value: bytes) -> None:
        partition = partition_of(batch_id, self._table.partitions)
        try:
            await self._producer.send_and_wait(self._topic, value, key, partition=partition)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka does not take batches for now: {error!r}. Try again.") from error
