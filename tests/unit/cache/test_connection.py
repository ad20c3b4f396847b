"""What the client of Redis may do to a task is not passed on to it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pelton.cache.connection import round_trip
from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings


class Deaf:
    """A client whose pipeline loses a cancellation, and answers all the same."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def pipeline(self, *, transaction: bool) -> Any:  # noqa: ARG002  # the client's signature
        return self

    async def __aenter__(self) -> Any:
        return SimpleNamespace(execute_command=lambda *_: None, execute=self._execute)

    async def __aexit__(self, *_: object) -> None: ...

    async def _execute(self, **_: object) -> list[Any]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return [[None, None]]
        return []


async def test_a_cancellation_that_the_client_loses_ends_the_task() -> None:
    """A task that works for ever would else never end, and a leaving worker would wait for it."""
    client = Deaf()

    async def work() -> None:
        while True:
            async with round_trip(client, 60) as pipe:  # type: ignore[arg-type]  # all that is used of it
                await pipe.execute()

    working = asyncio.create_task(work())
    await client.asked.wait()
    working.cancel()
    await asyncio.wait([working], timeout=10)
    assert working.cancelled()


async def test_a_time_out_is_no_cancellation() -> None:
    """The limit of a round trip is its own: whoever asks goes on."""
    client = Deaf()
    with pytest.raises(TimeoutError):
        async with round_trip(client, 0.01):  # type: ignore[arg-type]
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_histories_are_read_so() -> None:
    """By the session store, whose reader works for ever."""
    store = SessionStore(CacheSettings(redis_url="redis://127.0.0.1:1"), SessionSettings())
    await store.close()
    store._redis = client = Deaf()  # type: ignore[assignment]
    loading = asyncio.create_task(store.load(["a session"]))
    await client.asked.wait()
    loading.cancel()
    await asyncio.wait([loading], timeout=10)
    assert loading.cancelled()
