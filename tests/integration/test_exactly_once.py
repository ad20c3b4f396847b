"""Exactly once on a real broker: a crash and a freeze at each moment, with another worker taking over in between."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.integration.sabotage import is_frozen, saboteur
from tests.waiting import until

MOMENTS = ("after-fetch", "after-generation", "after-send", "before-commit", "after-commit")
COUNT = 40


async def assert_each_answered_once(at, client) -> None:
    """The reply log has one reply for each request record, by source, and no other."""
    sent = {f"{at.requests}-{record.partition}-{record.offset}" for record in await client.read_all(at.requests)}
    replies = Counter(dict(reply.headers)["pelton-source"].decode() for reply in await client.read_all(at.replies))
    assert replies == Counter(dict.fromkeys(sent, 1))


async def every_moment(scenario: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(scenario(moment))


async def test_a_worker_killed_at_any_moment_neither_loses_nor_repeats(place, client, chat_body, tmp_path):
    """SIGKILL after fetch, generation and sends, before and after the commit: another worker answers the rest."""

    async def scenario(moment: str) -> None:
        at = await place(partitions=2)
        async with saboteur(at.settings.kafka, moment, "KILL", tmp_path) as doomed:
            await client.send_many(at.requests, [chat_body(str(index)) for index in range(COUNT)])
            await until(lambda: not doomed.running)
            async with at.worker():
                await client.read(at.replies, COUNT)
        await assert_each_answered_once(at, client)

    await every_moment(scenario)


async def test_a_worker_frozen_at_any_moment_and_thawed_neither_loses_nor_repeats(place, client, chat_body, tmp_path):
    """SIGSTOP past the session at the same moments: another worker takes over, and what thaws may not disturb it."""

    async def scenario(moment: str) -> None:
        at = await place(partitions=2)
        async with saboteur(at.settings.kafka, moment, "STOP", tmp_path) as frozen:
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
