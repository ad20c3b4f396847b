"""Replies find those who wait for them: one partition of the reply topic, read without a group.

Every client reads one partition, which its requests name in `kafka_replyPartition`. Others may have chosen the same
one: what nobody here expects is left alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from pelton.producers.errors import RepliesUnreadable
from pelton.producers.replies import Reply

log = logging.getLogger(__name__)


class ReplySource(Protocol):
    """What a router reads from."""

    def batches(self) -> AsyncIterator[Sequence[Reply]]: ...


class ReplyRouter:
    """Hands each reply to the one who expects it. A repeated one (at-least-once workers) finds nobody, and is left."""

    def __init__(self, source: ReplySource) -> None:
        self._source = source
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failure: RepliesUnreadable | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._route(), name="reply-router")

    async def stop(self) -> None:
        """Those still waiting get `RepliesUnreadable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail(RepliesUnreadable("The client was closed before the reply came."))

    def expect(self, correlation_id: bytes) -> asyncio.Future[Reply]:
        """The reply to come; register before sending. Cancel the future to expect it no longer.

        Raises `RepliesUnreadable` when reading has stopped, `ValueError` when the id is expected already.
        """
        if self._failure is not None:
            raise self._failure
        if correlation_id in self._waiting:
            raise ValueError(f"correlation id {correlation_id!r} is already waited for: give each request its own")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = future
        future.add_done_callback(lambda _: self._waiting.pop(correlation_id))
        return future

    async def _route(self) -> None:
        try:
            async for batch in self._source.batches():
                for reply in batch:
                    future = self._waiting.get(reply.correlation_id)
                    if future is not None and not future.done():
                        future.set_result(reply)
        except Exception as error:  # noqa: BLE001  # whatever it was, those who wait must hear of it
            self._fail(RepliesUnreadable(f"Reading the reply topic stopped: {error!r}. Open a new client."))

    def _fail(self, failure: RepliesUnreadable) -> None:
        self._failure = self._failure or failure
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._failure)
                future.exception()  # marks it as seen: some may have stopped waiting by now
