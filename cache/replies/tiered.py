"""The cache as a worker sees it: one look-up over both tiers, and writing that nobody waits for."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.health import Health
from pelton.cache.replies.leases import Leases
from pelton.cache.replies.local import LocalTier
from pelton.cache.replies.remote import MAX_VALUE_BYTES, PATIENCE_S, Remote, Unavailable, mget
from pelton.cache.replies.values import Found, Tier, TierLookup
from pelton.cache.replies.write_behind import WriteBehind
from pelton.cache.value_format import ValueFormat
from pelton.pipeline.settings.cache import CacheSettings

log = logging.getLogger(__name__)

__all__ = ["Found", "Tier", "TieredCache"]


class TieredCache:
    """A local tier before a remote one. Must be made on the event loop that it is used on.

        cache = TieredCache(settings.cache)
        await cache.start()

    Nothing here raises because Redis is away, nor takes longer for it than `timeout_ms`. `on_failure` is called
    with the kind of each failure. Values are opaque bytes; keys come from `pelton.cache.keys`.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        on_failure: Callable[[Failure], None] = lambda _: None,
        rng: random.Random | None = None,
    ) -> None:
        self._ttl_s = settings.ttl_s
        self.local = LocalTier(settings.local_bytes, settings.local_ttl_s)
        self.remote = Remote(settings, on_failure)
        value_format = ValueFormat.of(settings, MAX_VALUE_BYTES)
        self._outbox = WriteBehind(self.remote, rng or random.Random(), value_format)  # noqa: S311  # jitter is no secret
        self._values = TierLookup(self.local, self.remote, self._outbox, value_format)
        self.leases = Leases(self._values, self.remote, self._outbox, settings.lease_ttl_ms)
        self._health = Health(self.remote, on_purge=self._purged, on_look=self._outbox.wake)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect, if Redis answers within a second or two, and watch over it from now on."""
        await self._health.look()
        self._tasks = [asyncio.create_task(part.run()) for part in (self._health, self._outbox, self.leases)]
        for task in self._tasks:
            task.add_done_callback(_tell)

    async def close(self) -> None:
        """End all leases, and write what waits to be written if that takes no longer than a second."""
        self.leases.release_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._outbox.send()
                await self._health.flush_outcomes()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.remote.close()

    async def get_many(self, keys: Sequence[str]) -> dict[str, Found]:
        """What there is of `keys`: local first, and then one round trip for all the others."""
        found = self._values.held(keys)
        missing = list(dict.fromkeys(key for key in keys if key not in found))
        if missing:
            with contextlib.suppress(Unavailable):
                replies = await self.remote.call(lambda client: mget(client, missing))
                found |= await self._values.taken_in(missing, replies)
        return found

    def put(self, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Keep a value: locally at once, and in Redis in the background, for `ttl_s` or the set time to live."""
        ttl = self._ttl_s if ttl_s is None else ttl_s
        self.local.put(key, value, ttl)
        if self.remote.exists:
            self._outbox.write(key, value, ttl)

    def count(self, outcome: str, times: int = 1) -> None:
        """Add to the counts that `pelton cache stats` shows, which all workers share."""
        self._health.count(outcome, times)

    def _purged(self) -> None:
        self.local.clear()
        self._outbox.forget_values()


def _tell(task: asyncio.Task[None]) -> None:
    """The worker goes on without a part that ended by an error of ours; the log has it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("A background task of the cache ended", exc_info=error)
