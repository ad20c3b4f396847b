"""A conversation goes on when its worker is killed or frozen: complete, in order, nothing twice."""

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from pelton.cache.sessions.store import SessionStore, session_key
from tests.integration.sabotage import is_frozen, saboteur
from tests.integration.sessions.talk import Talk
from tests.waiting import until

TURNS = 20
LIMIT_S = 60
LAST = 8
"""The turn at which the first worker is stopped, from 1."""
STORED = {"after-generation": False, "before-commit": True}
"""Moments, and whether the turn is in the history by then."""


async def hold(talk: Talk, turns: int) -> None:
    for number in range(turns):
        await talk.says(f"question {number}", timeout_s=60)


async def assert_kept(it, talk: Talk) -> None:
    """What is stored is the conversation as its user knows it."""
    store = SessionStore(it.at.settings.cache, it.at.settings.session)
    (loaded,) = await store.load([session_key("", talk.session)])
    await store.close()
    assert [message for turn in loaded.history.turns for message in turn.spoken] == talk.said
    assert len({turn.record for turn in loaded.history.turns}) == len(loaded.history.turns)


async def killed(it, moment: str, redis_url: str, folder: Path) -> None:
    """SIGKILL: another worker goes on, and does not generate again what is stored."""
    async with saboteur(
        it.at.settings.kafka, moment, "KILL", folder, str(LAST), PELTON_CACHE__REDIS_URL=redis_url
    ) as doomed:
        talk = it.talk()
        talking = asyncio.create_task(hold(talk, TURNS))
        await until(lambda: not doomed.running, LIMIT_S)
        async with it.worker() as worker:
            await talking
        assert len(worker.generated) == TURNS - LAST + (not STORED[moment])
        await assert_kept(it, talk)


async def frozen(it, moment: str, redis_url: str, folder: Path) -> None:
    """SIGSTOP past its session: what it says when it thaws comes too late for the history."""
    async with saboteur(
        it.at.settings.kafka, moment, "STOP", folder, str(LAST), PELTON_CACHE__REDIS_URL=redis_url
    ) as zombie:
        talk = it.talk()
        talking = asyncio.create_task(hold(talk, TURNS))
        await until(lambda: is_frozen(zombie), LIMIT_S)
        async with it.worker() as worker:
            await talking
            assert len(worker.generated) == TURNS - LAST + (not STORED[moment])
            os.kill(zombie.pid, signal.SIGCONT)
            log = folder / f"{moment}-STOP.log"
            thawed_at = log.stat().st_size
            await until(lambda: "assigned" in log.read_text()[thawed_at:], LIMIT_S)  # it has joined again
            await hold(talk, 3)
        await assert_kept(it, talk)
        await asyncio.to_thread(zombie.stop)


async def test_a_conversation_of_20_turns_survives_its_worker(scene, redis_url, tmp_path):
    """Killed -9 or frozen within a turn, before it is stored or after: every answer has the whole history, once."""

    async def scenario(crash: Callable[..., Awaitable[None]], moment: str) -> None:
        async with scene(partitions=1) as it:
            await crash(it, moment, redis_url, tmp_path)

    async with asyncio.TaskGroup() as group:
        for crash, moment in itertools.product((killed, frozen), STORED):
            group.create_task(scenario(crash, moment))
