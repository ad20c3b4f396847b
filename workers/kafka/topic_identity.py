"""Which topic a name means at the moment, for those who must know before they commit."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

CLOSE_S = 2.0
"""How long requests under way may take to end before they are cut off."""

Ask = Callable[[Collection[str]], Awaitable[dict[str, str]]]


class TopicIdentity:
    """Asks Kafka for topics' ids: one request for all who want to know at the same time.

    A request that is under way may have been answered before its new caller's records were fetched, so that caller
    waits for the next one, and shares it with everybody else who comes meanwhile.
    """

    def __init__(self, ask: Ask) -> None:
        """`ask` returns the ids of those topics that exist."""
        self._ask = ask
        self._wanted: set[str] = set()
        self._running: asyncio.Task[dict[str, str]] | None = None
        self._next: asyncio.Task[dict[str, str]] | None = None

    async def now(self, topic: str) -> str:
        """The id as of a moment after the call; "" for a topic that does not exist. Raises what asking raises."""
        self._wanted.add(topic)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            self._next.add_done_callback(_seen)
        return (await asyncio.shield(self._next)).get(topic, "")

    async def close(self) -> None:
        """Wait for what is under way: asked of a client that is closed meanwhile, it would open a connection anew."""
        tasks = {task for task in (self._running, self._next) if task is not None}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _after(self, running: asyncio.Task[dict[str, str]] | None) -> dict[str, str]:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        wanted, self._wanted = self._wanted, set()
        return await self._ask(wanted)


def _seen(task: asyncio.Task[dict[str, str]]) -> None:
    """An error is told to those who wait; that none of them is left to hear it is no error."""
    if not task.cancelled():
        task.exception()
