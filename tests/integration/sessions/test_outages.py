"""Redis away, frozen, back: a session waits and then says so, and never goes on without its history; others pass."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pelton.cache.connection import connect
from pelton.cache.sessions.store import session_key
from pelton.stack.valkey import ValkeyConfig, ValkeyServer

WAIT_MS = 800


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that keeps its data, to be frozen and stopped."""
    with ValkeyServer(ValkeyConfig(data=tmp_path / "valkey")) as server:
        yield server


@pytest.fixture
def session(valkey: ValkeyServer) -> dict:
    return {"cache": {"redis_url": valkey.url}, "session": {"wait_ms": WAIT_MS}, "partitions": 1}


async def test_a_frozen_redis_costs_sessions_a_bounded_wait_and_others_nothing(scene, valkey, session, client):
    """A session's request ends with session_unavailable after its wait, a plain one is answered at once meanwhile.

    Thawed, the conversation goes on where it was, without what was said in vain. None of it makes a dead letter.
    """
    async with scene(**session) as it, it.worker():
        talk = it.talk()
        await talk.says("first")
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            in_vain = asyncio.gather(*(talk.fails(f"in vain {number}") for number in range(5)))
            await it.client.complete([{"role": "user", "content": "a plain one"}])
            assert not in_vain.done()
            assert await in_vain == ["session_unavailable"] * 5
            assert WAIT_MS / 1000 <= time.monotonic() - started < WAIT_MS / 1000 + 2
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await talk.says("second")
    assert await client.read_all(it.at.dead_letters) == []


async def test_a_damaged_history_is_never_taken_for_none(scene, caplog):
    """The session ends with an error that says so, again and again; the log names the key. Others go on."""
    async with scene(partitions=1) as it, it.worker():
        talk, other = it.talk(), it.talk()
        await talk.says("first")
        redis = connect(it.at.settings.cache)
        key = session_key("", talk.session)
        await redis.hset(key, "d", b"rubbish")
        await redis.aclose()
        for _ in range(2):
            assert await talk.fails("second") == "session_unavailable"
        assert f"{key} is damaged" in caplog.text
        await other.says("hello")


async def test_a_turn_whose_fate_was_unknown_is_not_in_the_history(scene, valkey, session):
    """Frozen when the answer was to be stored, Redis stores it as it thaws; its sender was told otherwise."""
    slow = {"itl_ms": 30, "min_output_tokens": 20, "mean_output_tokens": 20}
    async with scene(**session, simulated=slow) as it, it.worker() as worker:
        talk = it.talk()
        await talk.says("first")
        answer = asyncio.create_task(talk.send("in vain", correlation_id=b"mine"))
        async with asyncio.timeout(60):
            while len(worker.generated) < 2:  # noqa: ASYNC110  # until its history was read
                await asyncio.sleep(0.01)
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            error = (await answer).error
            assert error is not None
            assert error.code == "session_unavailable"
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        # Sent again under its id it is no resend of what had been generated: that never became a turn.
        talk.hears("in vain", await talk.send("in vain", correlation_id=b"mine"))
        await talk.says("second")


async def test_a_short_outage_is_waited_out(scene, valkey, session):
    """Gone and back within the wait, Redis is missed by nobody, whichever moment of a turn it was gone at."""
    session["session"] = {"wait_ms": 20_000}
    slow = {"itl_ms": 30, "min_output_tokens": 20, "mean_output_tokens": 20}
    async with scene(**session, simulated=slow) as it, it.worker() as worker:
        talk, other = it.talk(), it.talk()
        await talk.says("first")
        storing = asyncio.create_task(talk.says("second"))
        async with asyncio.timeout(60):
            while len(worker.generated) < 2:  # noqa: ASYNC110  # until its history was read
                await asyncio.sleep(0.01)
        await asyncio.to_thread(valkey.stop)
        reading = asyncio.create_task(other.says("hello"))
        await asyncio.sleep(0.7)
        assert not storing.done()
        assert not reading.done()
        with ValkeyServer(ValkeyConfig(port=valkey.port, data=Path(valkey.folder))):
            await storing
            await reading
            await talk.says("third")
