"""A task that asks Redis for ever ends when it is cancelled, at whatever moment that is."""

import asyncio
import random

from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings

TASKS = 200


async def test_whoever_reads_histories_can_be_stopped(redis_url: str) -> None:
    """The client itself loses every third of these cancellations."""
    store = SessionStore(CacheSettings(redis_url=redis_url), SessionSettings())
    chance = random.Random(1)

    async def read() -> None:
        while True:
            await store.load(["nobody's"])

    try:
        for _ in range(TASKS):
            reading = asyncio.create_task(read())
            for _ in range(chance.randrange(1, 40)):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading], timeout=10)
            assert reading.cancelled()
    finally:
        await store.close()
