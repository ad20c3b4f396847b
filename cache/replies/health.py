"""The watch on Redis: finds out when it is back, hears of purges, and adds this worker's counts to the shared ones."""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pelton.cache.keys import PREFIX
from pelton.cache.replies.remote import PATIENCE_S, Remote, Unavailable, mget
from pelton.cache.value_format import now_ms

PERIOD_S = 0.5
"""Within two of them a purge has reached every worker."""
_FLUSH_PERIODS = 6

PURGE_KEY = f"{PREFIX}:purge"
"""Another value with every purge: random, since a counter that is lost in between could come to the same number."""
OUTCOMES_KEY = f"{PREFIX}:outcomes"
"""How requests came by their answers: a hash of counts over all workers."""
SINCE = "since"
"""The field of that hash with the moment of the first count, in Unix milliseconds."""
_PROBE_KEY = f"{PREFIX}:probe"
_TOKEN_BYTES = 16


async def announce_purge(client: Redis) -> None:
    """Let all workers empty their local tiers, within about two periods."""
    await client.set(PURGE_KEY, secrets.token_bytes(_TOKEN_BYTES))


class Health:
    """Looks at Redis every half second, whether or not anybody else asks anything of it."""

    def __init__(self, remote: Remote, *, on_purge: Callable[[], None], on_look: Callable[[], None]) -> None:
        self._remote = remote
        self._on_purge = on_purge
        self._on_look = on_look
        self._purge: bytes | None = None
        self._outcomes: Counter[str] = Counter()

    def count(self, outcome: str, times: int) -> None:
        self._outcomes[outcome] += times

    async def run(self) -> None:
        periods = 0
        while True:
            await asyncio.sleep(PERIOD_S)
            await self.look()
            periods += 1
            if periods % _FLUSH_PERIODS == 0:
                await self.flush_outcomes()

    async def look(self) -> None:
        """Never raises."""
        try:
            (purge,) = await self._remote.probe(lambda client: mget(client, [PURGE_KEY]))
        except Unavailable:
            return
        if purge != self._purge:
            self._purge = purge
            self._on_purge()
        if not self._remote.writable.passes:
            await self._try_to_write()
        self._on_look()

    async def flush_outcomes(self) -> None:
        """Never raises. Counts wait while Redis does not answer; those of a flush that fails are lost, not repeated."""
        if not self._outcomes or not self._remote.answering.passes:
            return
        counts, self._outcomes = self._outcomes, Counter()

        async def operation(client: Redis) -> None:
            pipe: Pipeline = client.pipeline(transaction=False)
            for outcome, count in counts.items():
                pipe.hincrby(OUTCOMES_KEY, outcome, count)
            pipe.hsetnx(OUTCOMES_KEY, SINCE, now_ms())
            await pipe.execute()

        with contextlib.suppress(Unavailable):
            await self._remote.call(operation, PATIENCE_S)

    async def _try_to_write(self) -> None:
        async def operation(client: Redis) -> list[object]:
            pipe: Pipeline = client.pipeline(transaction=False)
            pipe.set(_PROBE_KEY, b"", px=round(PERIOD_S * 1000))
            return await pipe.execute(raise_on_error=False)

        try:
            (reply,) = await self._remote.call(operation)
        except Unavailable:
            return
        if not isinstance(reply, Exception):
            self._remote.writable.heal()
