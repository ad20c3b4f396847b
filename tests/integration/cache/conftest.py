"""A Valkey of the tests' own, which may be frozen, filled and killed, and caches on it."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from pelton.cache.keys import answer_key
from pelton.cache.replies.tiered import TieredCache
from pelton.pipeline.settings.cache import CacheSettings
from pelton.stack.valkey import ValkeyConfig, ValkeyServer

_LOOK_S = 0.02


@pytest.fixture(scope="session")
def _server() -> Iterator[ValkeyServer]:
    with ValkeyServer(ValkeyConfig()) as server:
        yield server


@pytest.fixture
def valkey(_server: ValkeyServer) -> Iterator[ValkeyServer]:
    """Running at the beginning of each test, whatever the one before did to it."""
    _server.start()
    yield _server
    if _server.running:
        os.kill(_server.pid, signal.SIGCONT)


@pytest.fixture
def frozen(valkey: ValkeyServer) -> Callable[[], Any]:
    """`with frozen():` the server accepts connections and answers nothing."""

    @contextmanager
    def freeze() -> Iterator[None]:
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(valkey.pid, signal.SIGCONT)

    return freeze


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    """A client without any of the product's manners; the server is empty at the beginning."""
    async with Redis.from_url(valkey.url) as client:
        await client.flushall()
        await client.config_set("maxmemory", 0)
        yield client


@pytest.fixture
async def caches(valkey: ValkeyServer, redis: Redis) -> AsyncIterator[Callable[..., Any]]:  # noqa: ARG001  # empties it
    """Makes caches, each a worker of its own: `await caches(on_failure=..., timeout_ms=...)`."""
    made: list[TieredCache] = []

    async def make(on_failure: Callable[..., None] = lambda _: None, **settings: Any) -> TieredCache:
        # With time to spare for a busy machine: what a time-out costs is measured where it is set.
        settings = {"redis_url": valkey.url, "timeout_ms": 500, **settings}
        made.append(TieredCache(CacheSettings(**settings), on_failure=on_failure))
        await made[-1].start()
        return made[-1]

    yield make
    await asyncio.gather(*(cache.close() for cache in made))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is not about time: a busy machine may take over a second for a handshake, or for many megabytes."""
    for module in ("remote", "tiered", "write_behind"):
        monkeypatch.setattr(f"pelton.cache.replies.{module}.PATIENCE_S", 60.0)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`await eventually(lambda: ...)`: fails if it is not true within some seconds."""

    async def wait(condition: Callable[[], Any], within_s: float = 5.0) -> None:
        for _ in range(round(within_s / _LOOK_S)):
            if condition():
                return
            await asyncio.sleep(_LOOK_S)
        pytest.fail(f"not so within {within_s} s")

    return wait


@pytest.fixture
def new_key() -> Callable[..., str]:
    """An answer's key that no other test uses."""

    def make(name: str = "some prompt") -> str:
        return answer_key(model="m", tenant="t", fingerprint=uuid.uuid4().bytes, prompt=name, sampling={})

    return make
