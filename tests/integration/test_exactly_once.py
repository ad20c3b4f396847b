"""Exactly once on a real broker: a crash and a freeze at each moment, with another worker taking over in between."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil
import pytest

from pelton.stack.process import ChildProcess

SABOTEUR = Path(__file__).with_name("saboteur.py")
MOMENTS = ("after-fetch", "after-generation", "after-send", "before-commit", "after-commit")
COUNT = 40


def environment(at) -> dict[str, str]:
    """The place's settings as variables, for a worker in a process of its own."""
    kafka = at.settings.kafka
    return {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__GROUP_ID": kafka.group_id,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "PELTON_KAFKA__CREATE_TOPICS": "true",
        "PELTON_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "PELTON_ENGINE__KIND": "simulated",
        "PELTON_ENGINE__SIMULATED__ITL_MS": "1",
    }


@asynccontextmanager
async def saboteur(at, moment: str, name: str, folder: Path) -> AsyncIterator[ChildProcess]:
    log_file = folder / f"{moment}-{name}.log"
    command = [sys.executable, str(SABOTEUR), moment, name]
    process = ChildProcess(moment, command, log_file=log_file, grace_s=20, environment=environment(at))
    try:
        yield process
    finally:
        await asyncio.to_thread(process.kill)


async def until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    """For what another process does, of which no event tells."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  # as said
            await asyncio.sleep(0.05)


def is_frozen(process: ChildProcess) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


async def assert_each_answered_once(at, client) -> None:
    """The reply log has one reply for each request record, by source, and no other."""
    sent = {f"{at.requests}-{record.partition}-{record.offset}" for record in await client.read_all(at.requests)}
    replies = Counter(dict(reply.headers)["pelton-source"].decode() for reply in await client.read_all(at.replies))
    assert replies == Counter(dict.fromkeys(sent, 1))


async def every_moment(scenario: Callable[[str], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(scenario(moment))


@pytest.mark.timeout(110)
async def test_a_worker_killed_at_any_moment_neither_loses_nor_repeats(place, client, chat_body, tmp_path):
    """SIGKILL after fetch, generation and sends, before and after the commit: another worker answers the rest."""

    async def scenario(moment: str) -> None:
        at = await place(partitions=2)
        async with saboteur(at, moment, "KILL", tmp_path) as doomed:
            await client.send_many(at.requests, [chat_body(str(index)) for index in range(COUNT)])
            await until(lambda: not doomed.running)
            async with at.worker():
                await client.read(at.replies, COUNT)
        await assert_each_answered_once(at, client)

    await every_moment(scenario)


@pytest.mark.timeout(110)
async def test_a_worker_frozen_at_any_moment_and_thawed_neither_loses_nor_repeats(place, client, chat_body, tmp_path):
    """SIGSTOP past the session at the same moments: another worker takes over, and what thaws may not disturb it."""

    async def scenario(moment: str) -> None:
        at = await place(partitions=2)
        async with saboteur(at, moment, "STOP", tmp_path) as frozen:
            await client.send_many(at.requests, [chat_body(str(index)) for index in range(COUNT)])
            await until(lambda: is_frozen(frozen))
            async with at.worker():
                await client.read(at.replies, COUNT)
                os.kill(frozen.pid, signal.SIGCONT)
                log = tmp_path / f"{moment}-STOP.log"
                thawed_at = log.stat().st_size
                await until(lambda: "assigned" in log.read_text()[thawed_at:])  # it has joined again
                await client.send_many(at.requests, [chat_body(str(index)) for index in range(COUNT)])
                await client.read(at.replies, 2 * COUNT)
            await asyncio.to_thread(frozen.stop)
        await assert_each_answered_once(at, client)

    await every_moment(scenario)
