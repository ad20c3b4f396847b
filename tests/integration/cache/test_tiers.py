"""Both tiers with a real Valkey of the tests' own: what is written is found, and nothing else."""

import asyncio
import random
import time
import tracemalloc

import pytest

from pelton.cache.replies.admin import purge
from pelton.cache.replies.failures import Failure
from pelton.cache.replies.health import PERIOD_S
from pelton.cache.replies.leases import LeaseOutcome
from pelton.cache.replies.remote import MAX_VALUE_BYTES
from pelton.cache.replies.tiered import Found, Tier, TieredCache
from pelton.cache.value_format import ValueFormat, now_ms
from pelton.pipeline.settings.cache import CacheSettings

PLAINLY = ValueFormat(MAX_VALUE_BYTES)
MIB = 1 << 20


async def test_a_value_is_found_locally_and_by_others(caches, new_key):
    """Here at once; there out of Redis the first time, and locally from then on."""
    one, other = await caches(), await caches()
    key = new_key()
    one.put(key, b"value")
    assert one.local.get(key) == b"value"
    assert await one.get_many([key]) == {key: Found(b"value", Tier.LOCAL)}
    await one._outbox.send()
    assert other.local.get(key) is None
    assert await other.get_many([key]) == {key: Found(b"value", Tier.REMOTE)}
    assert await other.get_many([key]) == {key: Found(b"value", Tier.LOCAL)}


async def test_one_round_trip_for_all_that_is_not_local(caches, redis, new_key):
    """However many keys: one MGET, and none when all are local."""
    one, other = await caches(), await caches()
    keys = [new_key(str(index)) for index in range(100)]
    for key in keys[:60]:
        one.put(key, b"value")
    await one._outbox.send()
    other.put(keys[99], b"value")
    await redis.config_resetstat()
    found = await other.get_many([*keys, *keys])
    assert {key for key, hit in found.items() if hit.tier is Tier.REMOTE} == set(keys[:60])
    assert found.keys() == {*keys[:60], keys[99]}
    await other.get_many([keys[0], keys[99]])
    calls = await redis.info("commandstats")
    probes = 2 * 2  # those of two caches, which may come in between
    assert calls["cmdstat_mget"]["calls"] in range(1, 2 + probes)


async def test_times_to_live(caches, redis, new_key):
    """About what was asked for, not all the same, and no longer in the local tier that took it over."""
    one, other = await caches(local_ttl_s=300), await caches(local_ttl_s=300)
    keys = [new_key(str(index)) for index in range(50)]
    for key in keys:
        one.put(key, b"value", ttl_s=0.5)
    await one._outbox.send()
    lives = [await redis.pttl(key) for key in keys]
    assert all(300 <= life <= 550 for life in lives)
    assert max(lives) - min(lives) > 40
    assert len(await other.get_many(keys)) == 50
    await asyncio.sleep(0.6)
    assert await redis.exists(*keys) == 0
    assert not any(map(other.local.get, keys))
    assert await one.get_many(keys) == {}


@pytest.mark.parametrize("damage", ["truncated", "version", "moved", "text"])
async def test_a_damaged_value_is_a_miss_and_is_deleted(caches, redis, damage, new_key):
    """It is counted, and the others of the same look-up are found."""
    failures = []
    cache = await caches(on_failure=failures.append)
    good, bad = new_key("good"), new_key("bad")
    stored = PLAINLY.encode(bad, b"value", now_ms() + 10_000)
    wrong = {
        "truncated": stored[:-3],
        "version": stored[:2] + bytes([stored[2] + 1]) + stored[3:],
        "moved": PLAINLY.encode(good, b"value", now_ms() + 10_000),
        "text": b"hello",
    }
    await redis.set(bad, wrong[damage])
    await redis.set(good, PLAINLY.encode(good, b"value", now_ms() + 10_000))
    assert await cache.get_many([bad, good]) == {good: Found(b"value", Tier.REMOTE)}
    assert failures == [Failure.DAMAGED]
    await cache._outbox.send()
    assert await redis.exists(bad) == 0


async def test_the_value_that_follows_a_damaged_one_stays(caches, redis, new_key):
    """However soon it comes: the deletion goes first."""
    cache, other = await caches(), await caches()
    key = new_key()
    await redis.set(key, b"hello")
    assert await cache.get_many([key]) == {}
    cache.put(key, b"value")
    await cache._outbox.send()
    assert await other.get_many([key]) == {key: Found(b"value", Tier.REMOTE)}


async def test_another_type_is_a_miss(caches, redis, new_key):
    """A list under our key is nothing, and the value takes its place."""
    one, other = await caches(), await caches()
    key = new_key()
    await redis.rpush(key, b"a", b"b")
    assert await one.get_many([key]) == {}
    one.put(key, b"value")
    await one._outbox.send()
    assert await other.get_many([key]) == {key: Found(b"value", Tier.REMOTE)}


async def test_a_value_too_large_for_others_stays_local(caches, redis, new_key):
    """And is counted as not written."""
    failures = []
    cache = await caches(on_failure=failures.append)
    key = new_key()
    cache.put(key, bytes(2_000_000))
    await cache._outbox.send()
    assert cache.local.get(key) == bytes(2_000_000)
    assert failures == [Failure.DROPPED]
    assert await redis.exists(key) == 0


async def test_a_purge_reaches_the_local_tiers(caches, redis, new_key, eventually):
    """Of every worker, within about a second."""
    one, other = await caches(), await caches()
    keys = [new_key(str(index)) for index in range(10)]
    for key in keys:
        one.put(key, b"value")
    await one._outbox.send()
    await other.get_many(keys)
    assert await purge(redis, model="m") >= 10
    await eventually(lambda: not len(one.local) and not len(other.local), within_s=3 * PERIOD_S)
    assert await other.get_many(keys) == {}


async def test_a_purged_value_is_not_written_any_more(caches, redis, new_key):
    """What waited to be written when the purge was heard of."""
    cache = await caches()
    before, after = new_key("before"), new_key("after")
    cache.put(before, b"value")
    cache._purged()
    cache.put(after, b"value")
    await cache._outbox.send()
    assert (await redis.exists(before), await redis.exists(after)) == (0, 1)


async def test_closing_writes_what_waits(valkey, redis, new_key):
    """A worker that ends has told what it knew."""
    cache = TieredCache(CacheSettings(redis_url=valkey.url))
    await cache.start()
    key = new_key()
    cache.put(key, b"value")
    await cache.close()
    assert await redis.exists(key) == 1


async def test_without_redis_there_is_the_local_tier(new_key):
    """Nothing waits for a server that was never named."""
    cache = TieredCache(CacheSettings())
    await cache.start()
    key = new_key()
    cache.put(key, b"value")
    assert await cache.get_many([key, new_key("other")]) == {key: Found(b"value", Tier.LOCAL)}
    assert len(cache._outbox) == 0
    await cache.close()


async def test_an_acl_user(valkey, redis, new_key):
    """By URL or by settings, with no more rights than it needs; with a wrong password the cache does without Redis."""
    rights = ["+@read", "+@write", "+@scripting", "+@connection"]
    await redis.acl_setuser("pelton", enabled=True, passwords=["+secret"], keys=["pelton:*"], categories=rights)
    bare = valkey.url.removeprefix("redis://")
    ways = [
        CacheSettings(redis_url=f"redis://pelton:secret@{bare}"),
        CacheSettings(redis_url=valkey.url, username="pelton", password="secret"),  # noqa: S106  # the test's own
    ]
    failures = []
    for settings in ways:
        cache = TieredCache(settings, on_failure=failures.append)
        await cache.start()
        key = new_key()
        assert await cache.leases.acquire([key]) == {key: LeaseOutcome.LEADER}
        await cache.leases.renew()
        cache.count("miss")
        cache.put(key, b"value")
        await cache.close()
        assert await redis.exists(key) == 1
    assert failures == []
    wrong = CacheSettings(redis_url=f"redis://pelton:wrong@{bare}")
    cache = TieredCache(wrong, on_failure=failures.append)
    await cache.start()
    assert await cache.get_many([key]) == {}
    await cache.close()
    assert set(failures) == {Failure.REFUSED}


@pytest.mark.usefixtures("patient")
async def test_values_that_unpack_to_much_cost_little(caches, redis, new_key):
    """What writers never store is not unpacked: two dozen of 64 MiB each are as many misses, and are deleted."""
    failures = []
    cache = await caches(on_failure=failures.append, timeout_ms=60_000)
    keys = [new_key(str(index)) for index in range(24)]
    for key in keys:
        await redis.set(key, ValueFormat(64 * MIB).encode(key, bytes(64 * MIB), now_ms() + 10_000))
    keys.append(new_key("as it is"))
    await redis.set(keys[-1], bytes(64 * MIB))
    tracemalloc.start()
    assert await cache.get_many(keys) == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MIB
    assert failures == [Failure.DAMAGED] * 25
    await cache._outbox.send()
    assert await redis.exists(*keys) == 0


@pytest.mark.usefixtures("patient")
async def test_large_values_are_unpacked_beside_the_event_loop(caches, new_key):
    """Those who have nothing to do with them are not kept waiting."""
    one, other = await caches(timeout_ms=60_000), await caches(timeout_ms=60_000)
    keys = [new_key(str(index)) for index in range(24)]
    for key in keys:
        one.put(key, random.Random(key).randbytes(MIB // 4) * 4)
    await one._outbox.send()
    looking = asyncio.create_task(other.get_many(keys))
    worst_s = 0.0
    while not looking.done():
        before = time.perf_counter()
        await asyncio.sleep(0)
        worst_s = max(worst_s, time.perf_counter() - before)
    assert looking.result().keys() == set(keys)
    assert worst_s < 1


async def test_with_a_secret_only_its_own_answers_are_read(caches, new_key):
    """Who can write to Redis but has no secret cannot put an answer into anybody's mouth."""
    sealing, other = await caches(secret="the secret of the fleet"), await caches(secret="the secret of the fleet")  # noqa: S106  # the test's
    plain = await caches()
    sealed, forged = new_key("sealed"), new_key("forged")
    sealing.put(sealed, b"value")
    plain.put(forged, b"forged")
    await sealing._outbox.send()
    await plain._outbox.send()
    assert await other.get_many([sealed, forged]) == {sealed: Found(b"value", Tier.REMOTE)}
