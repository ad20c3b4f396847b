"""Redis frozen, killed, full, or something else altogether: a look-up costs little, then nothing, and all heals."""

import asyncio
import re
import statistics
import time
from contextlib import asynccontextmanager

import pytest

from pelton.cache.replies.circuit_breaker import THRESHOLD, State
from pelton.cache.replies.failures import Failure
from pelton.cache.replies.leases import LeaseOutcome
from pelton.cache.replies.tiered import Found, Tier, TieredCache
from pelton.pipeline.settings.cache import CacheSettings
from tests.listening import listening

BUDGET_MS = 20
LOOK_UPS = 200


async def _look_ups(cache, key):
    """Milliseconds that each of many look-ups took."""
    took = []
    for _ in range(LOOK_UPS):
        started = time.perf_counter()
        assert await cache.get_many([key]) == {}
        took.append((time.perf_counter() - started) * 1000)
    return took


async def test_a_frozen_redis_costs_its_time_out_a_few_times_and_then_nothing(caches, frozen, new_key, eventually):
    """Until the breaker opens; it closes again without a request to try it."""
    failures = []
    cache = await caches(failures.append, timeout_ms=BUDGET_MS)
    key = new_key()
    with frozen():
        took = await _look_ups(cache, key)
        assert set(failures) == {Failure.TIMEOUT}
        assert sum(took) < 2 * THRESHOLD * BUDGET_MS + LOOK_UPS  # the machine may be busy
        assert statistics.median(took) < BUDGET_MS / 10
        assert cache.remote.answering.state is State.OPEN
    await eventually(lambda: cache.remote.answering.passes)
    cache.put(key, b"value")
    await cache._outbox.send()
    cache.local.clear()
    assert await cache.get_many([key]) == {key: Found(b"value", Tier.REMOTE)}


async def test_a_killed_redis_is_missed_and_found_again(caches, valkey, new_key, eventually):
    """Its return needs no restart here; what was put while it was away is written then."""
    failures = []
    cache = await caches(failures.append, timeout_ms=BUDGET_MS)
    key = new_key()
    valkey.kill()
    took = await _look_ups(cache, new_key("other"))
    assert set(failures) == {Failure.UNREACHABLE}
    assert max(took) < 3 * BUDGET_MS
    cache.put(key, b"value")
    assert cache.local.get(key) == b"value"
    await asyncio.to_thread(valkey.start)
    await eventually(lambda: cache.remote.answering.passes and not len(cache._outbox))
    other = await caches()
    await eventually(lambda: cache.remote.answering.state is State.CLOSED)
    assert await other.get_many([key]) == {key: Found(b"value", Tier.REMOTE)}


async def test_a_redis_that_was_never_there_holds_nobody_up(valkey, new_key, eventually):
    """A worker starts without it, and uses it once it comes."""
    valkey.kill()
    cache = TieredCache(CacheSettings(redis_url=valkey.url))
    started = time.monotonic()
    await cache.start()
    assert time.monotonic() - started < 0.5
    assert await cache.get_many([new_key()]) == {}
    await asyncio.to_thread(valkey.start)
    await eventually(lambda: cache.remote.answering.passes)
    await cache.close()


async def test_a_full_redis_is_still_read(caches, redis, new_key, eventually):
    """Writes are refused and counted, reads go on, generation needs no lease; room again is noticed by itself."""
    failures = []
    cache, reader = await caches(failures.append), await caches()
    old, new = new_key("old"), new_key("new")
    cache.put(old, b"value")
    await cache._outbox.send()
    await redis.config_set("maxmemory", 1)
    for _ in range(THRESHOLD):
        cache.put(new, b"value")
        await cache._outbox.send()
    assert failures == [Failure.FULL] * THRESHOLD
    assert not cache.remote.takes_writes
    assert cache.remote.answering.passes
    assert await reader.get_many([old, new]) == {old: Found(b"value", Tier.REMOTE)}
    cache.local.clear()
    assert await cache.leases.acquire([old, new]) == {old: Found(b"value", Tier.REMOTE), new: LeaseOutcome.ALONE}
    assert failures == [Failure.FULL] * THRESHOLD  # no lease was asked for
    await redis.config_set("maxmemory", 0)
    await eventually(lambda: cache.remote.takes_writes)
    cache.put(new, b"value")
    await cache._outbox.send()
    assert await reader.get_many([new]) == {new: Found(b"value", Tier.REMOTE)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", {Failure.GARBAGE, Failure.UNREACHABLE}),
        (b"*2\r\n$-1\r\n$-1\r\n", {Failure.GARBAGE}),
        (b":1\r\n", {Failure.GARBAGE}),
        (b"$5\r\nhello\r\n", {Failure.GARBAGE}),
        (b"$99999999\r\nhello\r\n", {Failure.TIMEOUT}),
        (b"$xy\r\n", {Failure.GARBAGE, Failure.UNREACHABLE}),
        (b"\xff\xfe\x00\r\n\r\n", {Failure.GARBAGE, Failure.UNREACHABLE}),
        (b"-ERR no such thing\r\n", {Failure.REFUSED}),
        (b"-LOADING the data\r\n", {Failure.UNREACHABLE}),
        (b"", {Failure.TIMEOUT}),
        (None, {Failure.UNREACHABLE}),
    ],
)
async def test_whatever_answers_it_is_a_miss(answer, expected, new_key):
    """A server that speaks another protocol, answers nonsense, half an answer, errors, or hangs up."""
    failures = []
    async with _impostor(answer) as url:
        cache = TieredCache(CacheSettings(redis_url=url, timeout_ms=200), on_failure=failures.append)
        # As if it had answered well before: the probe would find out.
        cache.remote.answering.heal()
        cache.remote.answering.succeeded()
        key = new_key()
        started = time.monotonic()
        assert await cache.get_many([key]) == {}
        assert await cache.leases.acquire([key]) == {key: LeaseOutcome.ALONE}
        assert isinstance((await cache.leases.look([key]))[key], bool)
        cache.put(key, b"value")
        await cache._health.look()
        assert time.monotonic() - started < 2
        await cache.close()
    assert failures
    assert set(failures) <= expected


@asynccontextmanager
async def _impostor(answer):
    """Lets a client tell its name, as Redis would, and answers all that follows with `answer`; None: hangs up."""

    async def serve(reader, writer):
        while data := await reader.read(65_536):
            commands, greetings = len(re.findall(rb"\*[0-9]+\r\n", data)), data.count(b"SETINFO")
            writer.write(b"+OK\r\n" * greetings)
            if commands > greetings and answer is None:
                break
            writer.write((answer or b"") * (commands - greetings))

    async with listening(serve) as port:
        yield f"redis://127.0.0.1:{port}"


async def test_an_answer_that_came_while_the_loop_was_busy_counts(caches, new_key):
    """The time-out is for Redis. What kept this process from reading the answer is not its fault."""
    failures = []
    cache = await caches(failures.append, timeout_ms=5)
    key = new_key()
    cache.put(key, b"value")
    await cache._outbox.send()
    cache.local.clear()
    looking = asyncio.create_task(cache.get_many([key]))
    for _ in range(20):
        await asyncio.sleep(0)
        time.sleep(0.01)  # noqa: ASYNC251  # on purpose
    assert await looking == {key: Found(b"value", Tier.REMOTE)}
    assert failures == []


async def test_what_waits_for_redis_is_bounded(caches, frozen, new_key):
    """The oldest values are dropped and counted; the local tier has them all the same."""
    failures = []
    cache = await caches(failures.append, timeout_ms=BUDGET_MS)
    with frozen():
        await _look_ups(cache, new_key("opens the breaker"))
        failures.clear()
        keys = [new_key(str(index)) for index in range(50)]
        for key in keys:
            cache.put(key, bytes(1_000_000))
    assert failures.count(Failure.DROPPED) == pytest.approx(50 - 33.5, abs=1)
    assert all(cache.local.get(key) for key in keys)
