"""Requests taken back: a record for each on the topic of cancels, which every worker reads."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.producers.kafka.cluster import reaching

log = logging.getLogger(__name__)

STOP_S = 5.0


class CancelSender:
    """Lives on the event loop, from `start` to `stop`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._tenants = kafka.tenant_policy()
        self._producer: Any = None
        self._under_way: set[asyncio.Task[int]] = set()

    async def start(self) -> None:
        """Raises `BrokerUnreachable`."""
        self._producer = AIOKafkaProducer(**self._kafka.client_options())
        try:
            with reaching(self._kafka):
                await start_client(self._producer)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_S)
        if self._producer is not None:
            await stop_producer(self._producer)

    def cancel_soon(self, correlation_id: bytes, tenant: str = "") -> None:
        """As `cancel`, for who cannot wait because it is cancelled itself."""
        task = asyncio.create_task(self.cancel([correlation_id], tenant))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def cancel(self, correlation_ids: Iterable[bytes], tenant: str = "") -> int:
        """Take back requests of a tenant; return how many cancels Kafka has.

        What cannot be sent is logged: such a request is answered like any other.
        """
        tenant_header = [(contract.TENANT, tenant.encode())] if tenant else []
        named = {each: [(contract.CORRELATION_ID, each), *tenant_header] for each in correlation_ids}
        try:
            sent = [
                await self._producer.send(
                    self._kafka.cancels_topic, b"", each, headers=self._tenants.signed("cancel", headers, b"")
                )
                for each, headers in named.items()
            ]
            await asyncio.gather(*sent)
            return len(sent)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("cancels could not be sent to topic %s: %r", self._kafka.cancels_topic, error)
            return 0
