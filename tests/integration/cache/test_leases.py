"""Leases between workers: one generates, the others wait, and nobody waits for the dead."""

import asyncio

from pelton.cache.keys import lease_key
from pelton.cache.replies.circuit_breaker import THRESHOLD
from pelton.cache.replies.failures import Failure
from pelton.cache.replies.leases import LeaseOutcome
from pelton.cache.replies.tiered import Found, Tier

SHORT_MS = 300


async def test_one_leads_and_the_others_follow(caches, new_key):
    """For each key; who leads already leads still."""
    one, other = await caches(), await caches()
    keys = [new_key(str(index)) for index in range(4)]
    assert await one.leases.acquire(keys[:2]) == dict.fromkeys(keys[:2], LeaseOutcome.LEADER)
    standings = await other.leases.acquire([*keys, *keys])
    assert [standings[key] for key in keys] == [LeaseOutcome.FOLLOWER] * 2 + [LeaseOutcome.LEADER] * 2
    assert await one.leases.acquire(keys) == dict(zip(keys, reversed(list(standings.values())), strict=True))
    assert await one.leases.look(keys) == dict.fromkeys(keys, True)


async def test_of_many_at_once_one_leads(caches, new_key):
    """However close they come."""
    workers = [await caches() for _ in range(5)]
    key = new_key()
    answers = await asyncio.gather(*(worker.leases.acquire([key]) for worker in workers))
    standings = [answer[key] for answer in answers]
    assert sorted(standings, key=lambda standing: standing.value) == [LeaseOutcome.LEADER] + [LeaseOutcome.FOLLOWER] * 4


async def test_the_answer_comes_before_the_end_of_its_lease(caches, redis, new_key):
    """So those who wait find one or the other; and who asks for the lease then gets the value instead."""
    leader, waiting, late = await caches(), await caches(), await caches()
    key = new_key()
    await leader.leases.acquire([key])
    assert await waiting.leases.look([key]) == {key: True}
    leader.put(key, b"value")
    leader.leases.release(key)
    await leader._outbox.send()
    assert await waiting.leases.look([key]) == {key: Found(b"value", Tier.REMOTE)}
    assert await waiting.leases.look([key]) == {key: Found(b"value", Tier.LOCAL)}
    assert await late.leases.acquire([key]) == {key: Found(b"value", Tier.REMOTE)}
    await late._outbox.send()
    assert len(late.leases) == 0
    assert await redis.exists(lease_key(key)) == 0


async def test_a_leader_that_gives_up_makes_room(caches, new_key):
    """After an error or a cancel: no value, no lease, and the next one leads."""
    leader, waiting = await caches(), await caches()
    key = new_key()
    await leader.leases.acquire([key])
    leader.leases.release(key)
    await leader._outbox.send()
    assert await waiting.leases.look([key]) == {key: False}
    assert await waiting.leases.acquire([key]) == {key: LeaseOutcome.LEADER}


async def test_a_lease_is_held_as_long_as_its_holder_lives(caches, new_key):
    """It outlives its time to live by renewal; after the holder's death it runs out."""
    leader, waiting = await caches(lease_ttl_ms=SHORT_MS), await caches()
    key = new_key()
    await leader.leases.acquire([key])
    for _ in range(10):
        await asyncio.sleep(SHORT_MS / 1000 / 4)
        assert await waiting.leases.look([key]) == {key: True}
    for task in leader._tasks:  # as SIGKILL would
        task.cancel()
    await asyncio.sleep(1.5 * SHORT_MS / 1000)
    assert await waiting.leases.acquire([key]) == {key: LeaseOutcome.LEADER}


async def test_a_lost_lease_is_noticed_and_its_successor_left_alone(caches, redis, new_key):
    """A holder that slept too long neither extends nor ends what has passed to somebody else."""
    failures = []
    sleeper, successor = await caches(failures.append), await caches()
    key, kept = new_key("lost"), new_key("kept")
    await sleeper.leases.acquire([key, kept])
    await redis.delete(lease_key(key))
    await successor.leases.acquire([key])
    before = await redis.pttl(lease_key(key))
    await sleeper.leases.renew()
    assert failures == [Failure.LEASE_LOST]
    assert (sleeper.leases.holds(key), sleeper.leases.holds(kept)) == (False, True)
    assert await redis.pttl(lease_key(key)) <= before
    sleeper.leases.release(key)
    await sleeper._outbox.send()
    assert await successor.leases.look([key]) == {key: True}
    await successor.leases.renew()
    assert successor.leases.holds(key)


async def test_a_late_end_does_not_end_the_successors_lease(caches, redis, new_key):
    """The sleeper has not noticed yet when it releases."""
    sleeper, successor = await caches(), await caches()
    key = new_key()
    await sleeper.leases.acquire([key])
    await redis.delete(lease_key(key))
    await successor.leases.acquire([key])
    sleeper.leases.release(key)
    await sleeper._outbox.send()
    assert await redis.exists(lease_key(key)) == 1


async def test_a_lease_of_another_type_stops_nobody(caches, redis, new_key):
    """Nor does it break the renewal of others."""
    cache = await caches()
    key, good = new_key("bad"), new_key("good")
    await cache.leases.acquire([key, good])
    await redis.delete(lease_key(key))
    await redis.rpush(lease_key(key), b"x")
    await cache.leases.renew()
    assert (cache.leases.holds(key), cache.leases.holds(good)) == (False, True)


async def test_a_frozen_redis_lets_everybody_go_alone(caches, frozen, redis, new_key, eventually):
    """Within a few time-outs; and a lease that was given after all, too late, is given back."""
    one, other = await caches(timeout_ms=20, lease_ttl_ms=60_000), await caches(timeout_ms=20)
    key = new_key()
    with frozen():
        async with asyncio.timeout(0.5):
            assert await one.leases.acquire([key]) == {key: LeaseOutcome.ALONE}
            while await other.leases.look([key]) != {key: False}:
                pass
    await eventually(lambda: not one.remote._unwaited and one.remote.answering.passes)
    await one._outbox.send()
    assert await redis.exists(lease_key(key)) == 0
    assert len(one.leases) == 0


async def test_one_late_answer_sends_nobody_off(caches, frozen, new_key):
    """Who waits goes on waiting, until it is clear that Redis does not answer."""
    cache = await caches(timeout_ms=20)
    key = new_key()
    await cache.leases.look([key])  # from now on all is well
    with frozen():
        looks = [(await cache.leases.look([key]))[key] for _ in range(THRESHOLD + 1)]
    assert looks == [True] * (THRESHOLD - 1) + [False] * 2


async def test_closing_ends_all_leases(caches, redis, new_key):
    """A worker that leaves in order holds nobody up."""
    cache = await caches(lease_ttl_ms=60_000)
    key = new_key()
    await cache.leases.acquire([key])
    await cache.close()
    assert await redis.exists(lease_key(key)) == 0
