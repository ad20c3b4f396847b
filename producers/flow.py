"""Limits on work under way: how many things at once, and how long without a sign of progress."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


async def as_finished(jobs: AsyncIterator[Coroutine[Any, Any, T]], *, limit: int) -> AsyncGenerator[T, None]:
    """Run `jobs`, at most `limit` of them unfinished or with their result untaken; yield results as they finish.

    `jobs` is asked for the next one only when there is room for it. The first exception, of a job or of `jobs`, ends
    the stream and cancels the rest, as does closing it. Raises `ValueError` for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"at least one must be allowed under way, got {limit}")
    slots = asyncio.Semaphore(limit)
    finished: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    running: set[asyncio.Task[Any]] = set()

    def run(job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(job)
        running.add(task)
        task.add_done_callback(finished.put_nowait)
        return task

    async def feed() -> None:
        while True:
            await slots.acquire()
            try:
                run(await anext(jobs))
            except StopAsyncIteration:
                return

    feeder = run(feed())
    try:
        while running:
            task = await finished.get()
            running.discard(task)
            result = task.result()
            if task is not feeder:
                yield result
                slots.release()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class ProgressTimeout:
    """A time limit that starts over with every sign of progress. Raises `TimeoutError`; None never does."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._timeout = asyncio.timeout(limit_s)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    def progress(self) -> None:
        if self._limit_s is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._limit_s)
