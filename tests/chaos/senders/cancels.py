"""Takes requests back while they wait, run, or are answered already."""

import asyncio

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cancel_sender import CancelSender
from tests.chaos.mix import Request


class Cancels:
    """From `start` to `stop`. A cancel that Kafka does not take is lost, as senders' cancels are."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._sender = CancelSender(kafka)
        self._waiting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises `BrokerUnreachable`."""
        await self._sender.start()

    async def stop(self) -> None:
        """When what is still to be taken back is."""
        await asyncio.gather(*self._waiting)
        await self._sender.stop()

    def follow(self, request: Request) -> None:
        """It was sent; take it back when its sender does."""
        after_s = request.wishes.cancel_after_s
        if after_s is not None:
            task = asyncio.create_task(self._cancel(request, after_s))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _cancel(self, request: Request, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._sender.cancel([request.correlation_id.encode()], request.wishes.tenant)
