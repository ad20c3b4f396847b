"""The bounded hand-off from threads to the event loop, read there in batches."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Generic, TypeVar

import janus

Item = TypeVar("Item")


class LingerQueueClosed(Exception):
    """Nothing more is read on the other side."""


class _Mark(asyncio.Event):
    """A place in the queue; set when everything put before it has been dealt with."""


class LingerQueue(Generic[Item]):
    """First in, first out, at most `maxsize` items. Must be made on the loop that reads it.

    `linger_s` says how long an item may wait for others to be read with; it is asked where the item is put.
    """

    def __init__(self, maxsize: int, linger_s: Callable[[Item], float] = lambda _: 0.0) -> None:
        self._queue: janus.Queue[Item | _Mark] = janus.Queue(maxsize)
        self._linger_s = linger_s
        self._loop = asyncio.get_running_loop()
        # When the batch that gathers must go, by the monotonic clock; changed on the loop only.
        self._due = math.inf
        # What threads have asked the loop to change it to, so that each does not wake the loop for as much.
        self._asked = math.inf
        self._hastened = asyncio.Event()

    def put(self, item: Item) -> None:
        """Hand over from a thread, waiting for room. Raises `LingerQueueClosed`."""
        try:
            self._queue.sync_q.put(item)
        except janus.SyncQueueShutDown:
            raise LingerQueueClosed from None
        if (due := self._due_of(item)) < min(self._due, self._asked):
            self._asked = due
            self._loop.call_soon_threadsafe(self._bring_forward, due)

    async def put_async(self, item: Item) -> None:
        """Hand over from the loop, waiting for room. Raises `LingerQueueClosed`."""
        try:
            await self._queue.async_q.put(item)
        except janus.AsyncQueueShutDown:
            raise LingerQueueClosed from None
        self._bring_forward(self._due_of(item))

    async def put_all(self, items: Iterable[Item]) -> None:
        """Hand over many from the loop, waiting for room only where there is none. Raises `LingerQueueClosed`."""
        for item in items:
            try:
                self._queue.async_q.put_nowait(item)
            except janus.AsyncQueueFull:
                await self.put_async(item)
            except janus.AsyncQueueShutDown:
                raise LingerQueueClosed from None
            else:
                self._bring_forward(self._due_of(item))

    async def flush(self) -> None:
        """Wait until everything handed over so far has been dealt with."""
        mark = _Mark()
        try:
            await self._queue.async_q.put(mark)
        except janus.AsyncQueueShutDown:
            return
        self._bring_forward(0.0)
        await mark.wait()

    async def batches(self) -> AsyncGenerator[list[Item]]:
        """Yield what gathered until the first item's patience ended, or sooner half of what the queue holds.

        Ends when closed and empty. A batch counts as dealt with when the next one is asked for.
        """
        while True:
            try:
                entries = [await self._queue.async_q.get()]
            except janus.AsyncQueueShutDown:
                return
            await self._gather()
            # Before the rest is read: what comes after it sets a time for the next batch.
            self._due = self._asked = math.inf
            entries.extend(self._rest())
            items = [entry for entry in entries if not isinstance(entry, _Mark)]
            if items:
                yield items
            for entry in entries:
                if isinstance(entry, _Mark):
                    entry.set()

    async def _gather(self) -> None:
        while (left := self._due - time.monotonic()) > 0:
            self._hastened.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left if left < math.inf else None):
                    await self._hastened.wait()

    def _due_of(self, item: Item) -> float:
        """A busy queue is not left to fill up: its writers would wait."""
        if 2 * self._queue.sync_q.qsize() >= self._queue.maxsize:
            return 0.0
        return time.monotonic() + self._linger_s(item)

    def _bring_forward(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._hastened.set()

    def close(self) -> None:
        """Let nothing more in; what is inside may still be read."""
        self._queue.shutdown()
        self._bring_forward(0.0)

    def _rest(self) -> list[Item | _Mark]:
        """What else is there now, and no more: a fast writer cannot hold a batch open."""
        rest = []
        for _ in range(self._queue.async_q.qsize()):
            try:
                rest.append(self._queue.async_q.get_nowait())
            except (janus.AsyncQueueEmpty, janus.AsyncQueueShutDown):
                break
        return rest
