"""Sessions in a real Redis or Valkey: no turn twice, none by a former owner, none lost when it is damaged."""

import asyncio
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from pelton.cache.connection import connect
from pelton.cache.sessions.history import MAX_HISTORY_BYTES, History, Turn
from pelton.cache.sessions.store import Fence, Loaded, SessionStore, StoreFailure, session_key
from pelton.cache.value_format import ValueFormat
from pelton.pipeline.settings.cache import CacheSettings
from tests.integration.sessions.owner import DAY, Owner, turn


@pytest.fixture
async def owners(redis_url: str) -> AsyncIterator[tuple[Owner, Owner]]:
    """Two workers that share a session; the first one has taken its partition over."""
    name = uuid.uuid4().hex
    pair = Owner(redis_url, name), Owner(redis_url, name)
    assert await pair[0].take_over()
    yield pair
    for owner in pair:
        await owner.store.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(CacheSettings(redis_url=redis_url))
    yield client
    await client.aclose()


async def test_turns_are_read_as_they_were_written(owners):
    """A session begins empty; each stored turn is there for whoever loads it next, in order."""
    owner, other = owners
    loaded = await owner.load()
    assert loaded == Loaded()
    for number in range(3):
        assert await owner.put(loaded, turn(number)) == turn(number)
        loaded = await owner.load()
        assert loaded.version == f"t-0-{number}"
    assert await other.turns() == (turn(0), turn(1), turn(2))


async def test_many_sessions_take_one_round_trip_each_way(redis_url, monkeypatch):
    """A batch of sessions is read, and a batch of turns written, at the price of one; each gets its own outcome."""
    many = [Owner(redis_url, uuid.uuid4().hex) for _ in range(5)]
    store = many[0].store
    for owner in many[1:]:
        await owner.take_over()
    trips = []
    round_trip = SessionStore._round_trip

    def counted(*args: Any) -> Any:
        trips.append(1)
        return round_trip(*args)

    monkeypatch.setattr(SessionStore, "_round_trip", counted)
    outcomes = await store.store([owner.write(Loaded(), turn(at)) for at, owner in enumerate(many)])
    assert outcomes == [StoreFailure.FENCED, *map(turn, range(1, 5))]
    loaded = await store.load([owner.key for owner in many])
    assert [one.history.turns for one in loaded] == [(), *((turn(at),) for at in range(1, 5))]
    assert len(trips) == 2
    for owner in many:
        await owner.store.close()


async def test_a_turn_is_stored_once_and_its_first_answer_stays(owners):
    """Stored again under its record, by the same worker or the next, it is left as it is and its answer given back."""
    owner, successor = owners
    first = await owner.put(Loaded(), turn(1, "first"))
    assert await owner.put(Loaded(), turn(1, "again")) == first
    await successor.take_over()
    assert await successor.put(Loaded(), turn(1, "other")) == first
    assert (await successor.load()).history.turn("t-0-1") == first
    assert await successor.turns() == (first,)


async def test_a_former_owner_is_shut_out(owners):
    """After a take-over it can store nothing: not on what it had read, nor where the session has vanished since."""
    frozen, owner = owners
    await frozen.put(Loaded(), turn(1))
    read = await frozen.load()
    await owner.take_over()
    assert await frozen.put(read, turn(2, "late")) == StoreFailure.FENCED
    assert await owner.put(await owner.load(), turn(2)) == turn(2)
    assert await owner.turns() == (turn(1), turn(2))
    assert await frozen.store.withdraw([frozen.write(read, turn(2))]) == [StoreFailure.FENCED]
    assert await owner.turns() == (turn(1), turn(2))


async def test_what_a_former_owner_stored_before_is_seen(owners):
    """Its last turn, whose reply may never have been sent, is there under its record for the successor to send."""
    former, owner = owners
    await former.put(Loaded(), turn(1, "unsent"))
    await owner.take_over()
    assert (await owner.load()).history.turn("t-0-1") == turn(1, "unsent")


async def test_of_two_that_store_at_once_one_is_told_to_read_again(owners):
    """Two records of one session on two partitions, at the same moment: neither overwrites the other."""
    one, other = owners
    other.fence = Fence.fresh("g", one.session, 1)
    assert await other.store.raise_fences([other.fence]) == [True]
    outcomes = list(await asyncio.gather(one.put(Loaded(), turn(1)), other.put(Loaded(), turn(2))))
    (winner,) = await one.turns()
    loser, missing = (other, turn(2)) if winner == turn(1) else (one, turn(1))
    assert outcomes == [winner if winner == turn(number) else StoreFailure.MOVED for number in (1, 2)]
    assert await loser.put(await loser.load(), missing) == missing
    assert await one.turns() == (winner, missing)


async def test_storing_races_leave_every_turn_once(owners):
    """Two owners that shut each other out in turn, each storing every turn until it is there: all there, in order."""
    one, other = owners

    async def insist(owner: Owner) -> list[Turn]:
        seen = []
        for number in range(10):
            while not isinstance(kept := await store_once(owner, number), Turn):
                pass
            seen.append(kept)
        return seen

    async def store_once(owner: Owner, number: int) -> Turn | StoreFailure:
        loaded = await owner.load()
        found = loaded.history.turn(f"t-0-{number}")
        stored = found or await owner.put(loaded, turn(number, owner.fence.token))
        if stored == StoreFailure.FENCED:
            await owner.take_over()
        return stored

    seen, also = await asyncio.gather(insist(one), insist(other))
    assert seen == also == list(await one.turns())


async def test_a_session_lives_on_from_its_last_turn(owners, redis):
    """Every stored turn gives the whole history its time to live again; reading does not."""
    owner, _ = owners
    await owner.put(Loaded(), turn(1))
    await redis.pexpire(owner.key, 5_000)
    loaded = await owner.load()
    assert await redis.pttl(owner.key) <= 5_000
    await owner.put(loaded, turn(2))
    assert 86_000_000 < await redis.pttl(owner.key) <= 86_400_000
    assert 0 < await redis.pttl(owner.fence.key) <= 86_400_000


async def test_a_session_that_ran_out_meanwhile_is_restored_whole(owners, redis):
    """Gone between reading and storing, it comes back with all its turns: the owner has them. A former one may not."""
    owner, successor = owners
    await owner.put(Loaded(), turn(1))
    read = await owner.load()
    await redis.delete(owner.key)
    assert await owner.put(read, turn(2)) == turn(2)
    assert await owner.turns() == (turn(1), turn(2))
    await successor.take_over()
    await redis.delete(owner.key)
    assert await owner.put(read, turn(2)) == StoreFailure.FENCED
    assert await successor.load() == Loaded()


async def test_a_lost_fence_lets_nobody_through(owners, redis):
    """When Redis has lost its data nobody is taken for the owner who was; the one who takes over again is."""
    owner, former = owners
    read = await owner.load()
    await redis.delete(owner.fence.key)
    assert await former.put(read, turn(1)) == StoreFailure.FENCED
    assert await owner.put(read, turn(1)) == StoreFailure.FENCED
    await owner.take_over()
    assert await owner.put(read, turn(1)) == turn(1)


async def test_a_turn_is_withdrawn_as_if_it_had_never_been(owners):
    """Of a store whose outcome is unknown nothing is left, whether it had been done, had not, or comes late."""
    owner, _ = owners
    before = await owner.load()
    for number in (1, 2):
        write = owner.write(before, turn(9, "unknown"))
        await owner.store.store([write])
        await owner.take_over()
        settled = replace(write, fence=owner.fence)
        for _ in range(2):
            assert await owner.store.withdraw([settled]) == [None]
            assert await owner.load() == before
        assert await owner.store.store([write]) == [StoreFailure.FENCED]
        before = await _after(owner, turn(number))
    assert await owner.store.withdraw([settled]) == [None]
    assert await owner.load() == before


async def _after(owner: Owner, new: Turn) -> Loaded:
    await owner.put(await owner.load(), new)
    return await owner.load()


PLAINLY = ValueFormat(MAX_HISTORY_BYTES)
MIB = 1 << 20
ANSWER = b'{"choices":[{"message":{"content":""}}]}'
MANY_TURNS = b'{"system":[],"turns":[' + b",".join([b'["t",[],%b]' % ANSWER] * 30_000) + b"]}"
MANY_MESSAGES = b'{"system":[],"turns":[["t",[' + b",".join([b'["user",""]'] * 300_000) + b"],%b]]}" % ANSWER
DAMAGES = {
    "truncated": lambda redis, key, data: redis.hset(key, "d", data[:-1]),
    "half of it gone": lambda redis, key, _: redis.hdel(key, "d"),
    "another version's": lambda redis, key, data: redis.hset(key, "d", data[:2] + b"\x7f" + data[3:]),
    "another session's": lambda redis, key, _: redis.hset(key, "d", PLAINLY.encode(key + "x", History().to_json(), 0)),
    "no history": lambda redis, key, _: redis.hset(key, "d", PLAINLY.encode(key, b"{}", 0)),
    "a bomb": lambda redis, key, _: redis.hset(key, "d", ValueFormat(50_000_000).encode(key, bytes(50_000_000), 0)),
    "too long": lambda redis, key, _: redis.hset(key, "d", bytes(50_000_000)),
    "too many turns": lambda redis, key, _: redis.hset(key, "d", PLAINLY.encode(key, MANY_TURNS, 0)),
    "too many messages": lambda redis, key, _: redis.hset(key, "d", PLAINLY.encode(key, MANY_MESSAGES, 0)),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_history_is_not_an_empty_one(owners, redis, damage, caplog):
    """It is not read, and is left as it is; the log names the key."""
    owner, _ = owners
    await owner.put(Loaded(), turn(1))
    await DAMAGES[damage](redis, owner.key, await redis.hget(owner.key, "d"))
    before = await redis.dump(owner.key)
    tracemalloc.start()
    assert await owner.load() == StoreFailure.DAMAGED
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * MIB
    assert await owner.put(Loaded("t-0-0"), turn(1, "again")) == StoreFailure.DAMAGED
    assert await redis.dump(owner.key) == before
    assert owner.key in caplog.text


async def test_what_is_no_session_is_not_touched(owners, redis):
    """A key of another type, or one whose last turn is not in it, is damage too: nothing is written over it."""
    owner, _ = owners
    await owner.put(Loaded(), turn(1))
    await redis.hset(owner.key, "v", "t-0-2")
    assert await owner.put(Loaded(), turn(2)) == StoreFailure.DAMAGED
    await redis.delete(owner.key)
    await redis.set(owner.key, "text")
    assert await owner.load() == StoreFailure.DAMAGED
    assert await owner.put(Loaded(), turn(1)) == StoreFailure.DAMAGED
    assert await redis.get(owner.key) == b"text"


async def test_a_fence_of_another_type_is_raised_anew_and_blames_no_session(owners, redis, caplog):
    """The session is sound; whoever made the fence a list loses it, and the turn is stored under a new one."""
    owner, _ = owners
    await owner.put(Loaded(), turn(1))
    await redis.delete(owner.fence.key)
    await redis.rpush(owner.fence.key, "x")
    read = await owner.load()
    assert await owner.put(read, turn(2)) == StoreFailure.FENCED
    assert await owner.take_over()
    assert await owner.put(read, turn(2)) == turn(2)
    assert "delete the key" not in caplog.text


async def test_a_history_loses_its_oldest_turns_before_it_is_too_long(owners):
    """What is written can be read again, whatever the model's context would hold."""
    owner, _ = owners
    loaded = Loaded()
    for number in range(6):
        assert await owner.put(loaded, turn(number, "x" * MIB)) == turn(number, "x" * MIB)
        loaded = await owner.load()
    assert loaded.history.turns[-1] == turn(5, "x" * MIB)
    assert len(loaded.history.to_json()) <= MAX_HISTORY_BYTES


async def test_a_turn_that_is_too_long_by_itself_is_not_stored(owners):
    """Its sender is told; the session stays as it was, and the turns stored beside it are not its concern."""
    owner, _ = owners
    await owner.put(Loaded(), turn(1))
    read = await owner.load()
    assert await owner.put(read, turn(2, "x" * 5 * MIB)) == StoreFailure.TOO_LONG
    assert await owner.load() == read


async def test_with_a_secret_no_forged_history_is_read(owners, redis_url, caplog):
    """Who can write to Redis but has no secret cannot make anybody's model believe what was never said."""
    forger, _ = owners
    await forger.put(Loaded(), turn(1))
    sealing = SessionStore(CacheSettings(redis_url=redis_url, secret="the secret of the fleet"), DAY)  # noqa: S106  # the test's
    assert await sealing.load([forger.key]) == [StoreFailure.DAMAGED]
    assert "it was written without cache.secret" in caplog.text
    key = forger.key + "x"
    (stored,) = await sealing.store([replace(forger.write(Loaded(), turn(1)), key=key)])
    (loaded,) = await sealing.load([key])
    assert loaded.history.turns == (stored,)
    await sealing.close()


async def test_names_cannot_run_into_each_other():
    """No tenant and session together name what another tenant's do."""
    assert session_key("a:b", "c") != session_key("a", "b:c")
    assert session_key("", "a") != session_key("a", "")
