"""The gate of a worker's sessions in tests, over a store of our making."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiokafka import TopicPartition

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.history import History
from pelton.cache.sessions.store import SessionStore, session_key
from pelton.pipeline.errors import Cancelled
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.contract import Lane
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import Delivery, Failed, OutgoingReply, Result
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sessions.fences import Fences
from tests.unit._support.turns import FakeStore, outgoing, user

KEY = session_key("", "s")
PARTITION = TopicPartition("requests", 0)
LATER = 1e9
"""A moment at which everybody's patience is over."""


class Worker:
    """The gate of one worker, and stand-ins for what is around it."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.member = True
        self.results: LingerQueue[Result] = LingerQueue(100)
        self.open_requests = OpenRequests(self.results, lambda _: None)
        self.gate = SessionCoordinator(
            store=cast(SessionStore, store),
            fences=Fences(cast(SessionStore, store), "g", self._is_member),
            open_requests=self.open_requests,
            wait_s=1.0,
            most_waiting=8,
        )
        self.opened: list[tuple[Delivery, History]] = []
        self.passed: list[OutgoingReply] = []
        self.ended: list[Result] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        tasks = [asyncio.create_task(part()) for part in (self._prepare, self.gate.write, self._send, self._drain)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110  # what is awaited has no event of its own
                await asyncio.sleep(0.001)

    async def nothing_more(self) -> None:
        """Time for what must not happen."""
        seen = (len(self.opened), len(self.passed), len(self.ended))
        await asyncio.sleep(0.03)
        assert (len(self.opened), len(self.passed), len(self.ended)) == seen

    def enter(self, one: Delivery) -> None:
        self.open_requests.add(one)
        self.gate.enter(one)

    async def open(self, one: Delivery) -> History:
        """Let a request in and wait until it goes on; its history."""
        self.enter(one)
        await self.until(lambda: any(opened is one for opened, _ in self.opened))
        return self.opened[-1][1]

    def answer(self, one: Delivery, text: str) -> OutgoingReply:
        """Have it answered."""
        packed = outgoing(one, text)
        assert self.open_requests.remove(one)
        assert self.gate.takes(packed)
        return packed

    async def turn(self, one: Delivery, text: str = "answer") -> OutgoingReply:
        """From its arrival to the commit of its reply."""
        await self.open(one)
        packed = self.answer(one, text)
        await self.until(lambda: packed in self.passed)
        self.gate.published([packed])
        return packed

    def give_up(self, now: float = LATER) -> list[Failed]:
        refused = self.gate.give_up(now)
        self.ended += [failed for failed in refused if self.open_requests.remove(failed.delivery)]
        return refused

    async def refuse(self, one: Delivery) -> Failed:
        """It is cancelled, or too late."""
        failed = Failed(one, Cancelled("by its sender"))
        await self.open_requests.end([failed])
        return failed

    def lose(self, lost: OffsetTracker) -> None:
        self.open_requests.abandon({lost})
        self.gate.abandon({lost})

    def commit(self, ending: Result) -> None:
        self.gate.published([OutgoingReply(ending, (OutgoingRecord("replies", b"error", b"", []),))])

    async def _is_member(self) -> bool:
        return self.member

    async def _prepare(self) -> None:
        async for opened in self.gate.ready(Lane.BATCH):
            self.opened += opened
            for one, history in opened:
                self.gate.opened(one, Conversation.of(history, [user(f"q{one.record.source.offset}")]))

    async def _send(self) -> None:
        async for packed in self.gate.stored():
            self.passed.append(packed)

    async def _drain(self) -> None:
        async for results in self.results.batches():
            self.ended += results


def said(history: History) -> list[str]:
    return [message.text for turn in history.turns for message in turn.spoken]
