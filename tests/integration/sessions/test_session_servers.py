"""The server that keeps sessions: its own, none, absent, frozen, full."""

import os
import signal
import time
from dataclasses import replace

import pytest

from pelton.cache.connection import connect
from pelton.cache.sessions import store as sessions
from pelton.cache.sessions.store import Loaded, SessionStore, StoreFailure, session_key
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings
from pelton.stack.valkey import ValkeyConfig, ValkeyServer
from tests.integration.sessions.owner import DAY, Owner, turn


async def test_histories_may_have_a_server_of_their_own(redis_url):
    """Beside one for the cache, or without any; its URL is looked at like the other, and never shown."""
    for cache in (CacheSettings(), CacheSettings(redis_url="redis://127.0.0.1:1")):
        store = SessionStore(cache, SessionSettings(redis_url=redis_url))
        assert store.there
        (loaded,) = await store.load([session_key("own", "server")])
        assert isinstance(loaded, Loaded)
        await store.close()
    with pytest.raises(ValueError, match="redis_url cannot be read") as raised:
        SessionSettings(redis_url="redis://:se/cret@host")
    assert "cret" not in str(raised.value)


async def test_without_a_server_there_are_no_sessions():
    """A worker without Redis says so and has nothing to wait for."""
    store = SessionStore(CacheSettings(), DAY)
    assert not store.there
    assert await store.load(["a", "b"]) == [StoreFailure.UNAVAILABLE] * 2
    await store.close()


async def test_an_absent_or_frozen_server_is_trouble_and_no_exception(monkeypatch):
    """Nobody there, or one that says nothing: told within the time of one round trip, and all is well when it is back.

    A store that was on its way into a frozen server is done when it thaws; the fence raised since does not let it.
    """
    monkeypatch.setattr(sessions, "OPERATION_S", 0.3)
    nowhere = Owner("redis://127.0.0.1:1", "s")
    assert await nowhere.load() == StoreFailure.UNAVAILABLE
    assert not await nowhere.take_over()
    await nowhere.store.close()
    with ValkeyServer(ValkeyConfig()) as server:
        owner = Owner(server.url, "s")
        await owner.take_over()
        await owner.put(Loaded(), turn(1))
        read = await owner.load()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            late = owner.write(read, turn(2))
            assert await owner.store.store([late]) == [StoreFailure.UNAVAILABLE]
            assert await owner.load() == StoreFailure.UNAVAILABLE
            assert time.monotonic() - started < 2
        finally:
            os.kill(server.pid, signal.SIGCONT)
        while not await owner.take_over():
            pass
        assert await owner.store.withdraw([replace(late, fence=owner.fence)]) == [None]
        assert await owner.turns() == (turn(1),)
        assert await owner.store.store([late]) == [StoreFailure.FENCED]
        await owner.store.close()


async def test_a_full_server_is_trouble_and_the_history_stays():
    """Out of memory a turn is not stored, and not half stored; what was there is still read."""
    with ValkeyServer(ValkeyConfig()) as server:
        owner = Owner(server.url, "s")
        await owner.take_over()
        await owner.put(Loaded(), turn(1))
        read = await owner.load()
        client = connect(CacheSettings(redis_url=server.url))
        await client.config_set("maxmemory", "1")
        assert await owner.put(read, turn(2)) == StoreFailure.UNAVAILABLE
        assert not await owner.take_over()
        assert await owner.load() == read
        await client.config_set("maxmemory", "0")
        await client.aclose()
        assert await owner.take_over()
        assert await owner.put(read, turn(2)) == turn(2)
        await owner.store.close()
