"""The connection to a real Redis or Valkey: it answers, and what does not answer costs a bounded wait."""

import os
import signal
import time
import uuid

import pytest

from pelton.cache.connection import TIMEOUT_S, CacheUnavailable, check, connect
from pelton.pipeline.settings.cache import CacheSettings
from pelton.stack.valkey import ValkeyConfig, ValkeyServer


async def test_what_is_written_is_read(redis_url):
    """A value comes back byte for byte."""
    client = connect(CacheSettings(redis_url=redis_url))
    key = uuid.uuid4().hex
    await client.set(key, bytes(range(256)), ex=60)
    assert await client.get(key) == bytes(range(256))
    await client.aclose()


async def test_a_cache_that_answers_passes_the_check(redis_url):
    """Nothing is raised for a server that is there."""
    await check(CacheSettings(redis_url=redis_url))


async def test_a_cache_that_is_not_there_is_named():
    """The error says which address was tried, and keeps the password to itself."""
    with pytest.raises(CacheUnavailable, match=r"redis://127\.0\.0\.1:1 is not there"):
        await check(CacheSettings(redis_url="redis://someone:secret@127.0.0.1:1"))


async def test_a_frozen_cache_costs_a_bounded_wait():
    """A server that accepts and then says nothing is given up within the time-out of connecting and of answering."""
    with ValkeyServer(ValkeyConfig()) as server:
        os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(CacheUnavailable):
                await check(CacheSettings(redis_url=server.url))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert time.monotonic() - started < 3 * TIMEOUT_S
