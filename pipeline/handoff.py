"""The bounded hand-off from threads to the event loop, read there in batches."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

import janus

Item = TypeVar("Item")

LINGER_LOOKS = 5
"""How often the queue is looked at while a batch gathers."""


class HandoffClosed(Exception):
    """Nothing more is read on the other side."""


class _Mark(asyncio.Event):
    """A place in the queue; set when everything put before it has been dealt with."""


class Handoff(Generic[Item]):
    """First in, first out, at most `maxsize` items. Must be made on the loop that reads it."""

    def __init__(self, maxsize: int) -> None:
        self._queue: janus.Queue[Item | _Mark] = janus.Queue(maxsize)

    def put(self, item: Item) -> None:
        """Hand over from a thread, waiting for room. Raises `HandoffClosed`."""
        try:
            self._queue.sync_q.put(item)
        except janus.SyncQueueShutDown:
            raise HandoffClosed from None

    async def put_async(self, item: Item) -> None:
        """Hand over from the loop, waiting for room. Raises `HandoffClosed`."""
        try:
            await self._queue.async_q.put(item)
        except janus.AsyncQueueShutDown:
            raise HandoffClosed from None

    async def put_all(self, items: Iterable[Item]) -> None:
        """Hand over many from the loop, waiting for room only where there is none. Raises `HandoffClosed`."""
        for item in items:
            try:
                self._queue.async_q.put_nowait(item)
            except janus.AsyncQueueFull:
                await self.put_async(item)
            except janus.AsyncQueueShutDown:
                raise HandoffClosed from None

    async def flush(self) -> None:
        """Wait until everything handed over so far has been dealt with."""
        mark = _Mark()
        try:
            await self._queue.async_q.put(mark)
        except janus.AsyncQueueShutDown:
            return
        await mark.wait()

    async def batches(self, linger_s: float) -> AsyncIterator[list[Item]]:
        """Yield what gathered within `linger_s` of a batch's first item, or sooner half of what the queue holds.

        Ends when closed and empty. A batch counts as dealt with when the next one is asked for.
        """
        while True:
            try:
                entries = [await self._queue.async_q.get()]
            except janus.AsyncQueueShutDown:
                return
            if not isinstance(entries[0], _Mark):
                await self._linger(linger_s)
            entries.extend(self._rest())
            items = [entry for entry in entries if not isinstance(entry, _Mark)]
            if items:
                yield items
            for entry in entries:
                if isinstance(entry, _Mark):
                    entry.set()

    async def _linger(self, linger_s: float) -> None:
        """A busy queue is not left to fill up: its writers would wait."""
        for _ in range(LINGER_LOOKS):
            if 2 * self._queue.async_q.qsize() >= self._queue.maxsize:
                break
            await asyncio.sleep(linger_s / LINGER_LOOKS)

    def close(self) -> None:
        """Let nothing more in; what is inside may still be read."""
        self._queue.shutdown()

    def _rest(self) -> list[Item | _Mark]:
        """What else is there now, and no more: a fast writer cannot hold a batch open."""
        rest = []
        for _ in range(self._queue.async_q.qsize()):
            try:
                rest.append(self._queue.async_q.get_nowait())
            except (janus.AsyncQueueEmpty, janus.AsyncQueueShutDown):
                break
        return rest
