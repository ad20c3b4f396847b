"""Workers that share answers, and somebody who asks the same thing again and again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.replies import correlation_id
from tests.waiting import until


class Scene:
    """One test's topics, workers and client."""

    def __init__(self, place: Callable[..., Awaitable[Any]], recorded: Any, client: Any, body: Callable[..., bytes]):
        self._place = place
        self._recorded = recorded
        self._body = body
        self.client = client
        self.at: Any = None

    async def begin(self, **settings: Any) -> None:
        """Make the topics; `settings` are those of the fixture `place`."""
        self.at = await self._place(**settings)

    @property
    def text(self) -> str:
        """What is asked unless a test says otherwise; no other test asks it."""
        return str(self.at.requests)

    def worker(self, **engine: Any) -> AbstractAsyncContextManager[Any]:
        """A worker that notes what it generates, drained at the end."""
        return self._recorded(self.at.settings.model_copy(update=engine)).running()

    async def ask(
        self,
        name: str,
        *headers: tuple[str, bytes],
        text: str | None = None,
        partition: int | None = None,
        **fields: Any,
    ) -> None:
        """Publish a request under an id, reproducible unless its body's `fields` say otherwise."""
        body = self._body(text or self.text, **{"temperature": 0, **fields})
        named = [("kafka_correlationId", name.encode()), *headers]
        await self.client.send(self.at.requests, body, named, partition=partition)

    async def cancel(self, name: str, tenant: str = "") -> None:
        """Take a request back."""
        headers = [("kafka_correlationId", name.encode())]
        if tenant:
            headers.append(("pelton-tenant", tenant.encode()))
        await self.client.send(self.at.settings.kafka.cancels_topic, b"", headers)

    async def read(self, count: int, timeout_s: float = 60) -> list[ConsumerRecord]:
        """So many replies, as they came."""
        replies: list[ConsumerRecord] = await self.client.read(self.at.replies, count, timeout_s)
        return replies

    async def by_id(self, count: int) -> dict[str, ConsumerRecord]:
        """So many replies by their correlation ids."""
        return {correlation_id(reply): reply for reply in await self.read(count)}

    async def read_all(self) -> list[ConsumerRecord]:
        """Every reply that is committed by now."""
        replies: list[ConsumerRecord] = await self.client.read_all(self.at.replies)
        return replies

    @staticmethod
    def in_s(seconds: float) -> bytes:
        """The deadline so many seconds from now, as its header has it."""
        return str(int((time.time() + seconds) * 1000)).encode()

    @asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[list[Any]]:
        """So many workers, started together, each with partitions to fetch from; drained together at the end."""
        leave = asyncio.Event()
        found: list[Any] = []

        async def serve() -> None:
            async with self.worker() as worker:
                found.append(worker)
                await leave.wait()

        async with asyncio.TaskGroup() as serving:
            for _ in range(count):
                serving.create_task(serve())
            await until(lambda: len(found) == count and all(worker.partitions for worker in found), 30)
            yield found
            leave.set()


@pytest.fixture
def scene(place: Any, recorded: Any, client: Any, chat_body: Callable[..., bytes]) -> Scene:
    return Scene(place, recorded, client, chat_body)
