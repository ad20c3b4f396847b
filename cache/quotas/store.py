"""Quotas in Redis or Valkey: reserved before a request runs, corrected when it has ended.

While Redis is away, or where none is set, each worker gives its part of each quota, what all had used before included.
After an outage the workers go on with their parts until each has had the time to say what it has used meanwhile: else
the first one back would give out again what the others have used.
"""

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from pelton.cache.causes import cause_of
from pelton.cache.connection import connect
from pelton.cache.quotas.account import LOOK_MS, Account, Ask
from pelton.cache.quotas.script import SYNC
from pelton.cache.quotas.window import Window
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.quota import Quota, QuotaSettings

log = logging.getLogger(__name__)

OPERATION_S = 1.0
"""How long one round trip may take."""
PEERS_S = 10.0
"""How often to count the workers of the group."""
NO_LIMIT = -1


@dataclass(frozen=True, slots=True)
class Timing:
    """`beat_s` is how often Redis hears of what has ended and what still runs; `settle_s` after an outage each worker
    has been heard. What a dead worker had running counts for `running_s` more.
    """

    window: Window = field(default_factory=Window)
    beat_s: float = 1.0
    settle_s: float = 4.0
    running_s: float = 15.0


class QuotaStore:
    """Lives on one event loop. Never raises because Redis is slow or gone."""

    def __init__(
        self,
        cache: CacheSettings,
        settings: QuotaSettings,
        worker: str,
        count_workers: Callable[[], Awaitable[int]],
        timing: Timing = Timing(),  # frozen
    ) -> None:
        """`worker` is this one's name among all; `count_workers` may raise, and is asked again later."""
        self._cache = cache.model_copy(update={"redis_url": settings.redis_url or cache.redis_url})
        self._redis: Redis | None = connect(self._cache, timeout_s=OPERATION_S) if self._cache.redis_url else None
        self._settings = settings
        self._worker = worker
        self._count_workers = count_workers
        self._timing = timing
        self._accounts: defaultdict[str, Account] = defaultdict(Account)
        self._one_at_a_time = asyncio.Lock()
        self._workers = 1
        self._clock_ahead_ms = 0.0
        self._is_away = False
        self._trusted_at = 0.0
        self._said = False

    @property
    def is_shared(self) -> bool:
        """Whether Redis decides just now."""
        return self._redis is not None and not self._is_away and time.monotonic() >= self._trusted_at

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def reserve(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, list[float]]:
        """Ask for each tenant whether its requests may run, in their order: 0 where one may, else the seconds to wait.

        With `over = "wait"` none of a tenant is granted before one that came earlier.
        """
        async with self._one_at_a_time:
            if self.is_shared and (answers := await self._sync(wanted)) is not None:
                return answers
            if not self._said:
                self._say()
            return {tenant: self._decide(tenant, asks) for tenant, asks in wanted.items()}

    def settle(self, tenant: str, name: str, *, requests: int, tokens: int) -> None:
        """The request so named has ended, and counts as so many requests and tokens."""
        if tenant in self._accounts:
            self._accounts[tenant].settle(name, requests, tokens)

    async def run(self) -> None:
        """Keep Redis and this worker informed of each other, for ever."""
        counted_at = -PEERS_S
        while True:
            if time.monotonic() - counted_at >= PEERS_S:
                counted_at = time.monotonic()
                await self._look_for_workers()
            await asyncio.sleep(self._timing.beat_s)
            await self.beat()

    async def beat(self) -> None:
        """Tell Redis what it does not know yet, and what still runs."""
        oldest = self._timing.window.first(self._now_ms())
        for tenant, account in list(self._accounts.items()):
            account.forget_before(oldest)
            if account.is_empty:
                del self._accounts[tenant]
        if self._redis is None:
            return
        async with self._one_at_a_time:
            await self._sync({tenant: [] for tenant, account in self._accounts.items() if account.is_dirty})

    async def _look_for_workers(self) -> None:
        try:
            async with asyncio.timeout(PEERS_S):
                self._workers = max(1, await self._count_workers())
        except Exception as error:  # noqa: BLE001  # whatever it is, the last count will do until the next
            log.debug("the workers of the group cannot be counted: %r", error)

    def _say(self) -> None:
        """Once for each time that Redis goes away."""
        self._said = True
        why = "is not set (quota.redis_url or cache.redis_url)" if self._redis is None else "is away or was just now"
        log.warning("quotas are kept by each worker for its part of %d, as Redis %s", self._workers, why)

    def _decide(self, tenant: str, asks: Sequence[Ask]) -> list[float]:
        account, quota, now_ms = self._accounts[tenant], self._settings.of(tenant), self._now_ms()
        waits: list[float] = []
        for ask in asks:
            is_behind = self._settings.over == "wait" and waits and waits[-1] > 0
            wait_ms = account.grant(ask, quota, self._timing.window, now_ms, self._workers)
            waits.append(waits[-1] if is_behind else wait_ms / 1000)
        return waits

    def _now_ms(self) -> float:
        return time.time() * 1000 + self._clock_ahead_ms

    async def _sync(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, list[float]] | None:
        """One round trip; None where Redis did not answer."""
        if self._redis is None:
            return None
        sent = {tenant: self._request(tenant, asks) for tenant, asks in wanted.items()}
        try:
            async with asyncio.timeout(OPERATION_S), self._redis.pipeline(transaction=False) as pipe:
                pipe.ping()  # an outage is noticed though there is nothing to say
                for tenant, request in sent.items():
                    pipe.execute_command("EVAL", SYNC, 1, _key(tenant), json.dumps(request))
                _, *answers = await pipe.execute()
        except Exception as error:  # noqa: BLE001  # what answers may be no Redis, and make the client raise anything
            self._lost(error)
            return None
        finally:
            _raise_if_cancelled()
        self._found()
        return {
            tenant: self._take_in(tenant, wanted[tenant], sent[tenant], json.loads(answer))
            for tenant, answer in zip(sent, answers, strict=True)
        }

    def _request(self, tenant: str, asks: Sequence[Ask]) -> dict[str, Any]:
        account, timing = self._accounts[tenant], self._timing
        return {
            "worker": self._worker,
            "window_ms": timing.window.length_ms,
            "slots": timing.window.slots,
            "running_ms": timing.running_s * 1000,
            "look_ms": LOOK_MS,
            "limits": _limits(self._settings.of(tenant)),
            "in_order": self._settings.over == "wait",
            "used": account.to_send(),
            "ended": list(account.ended),
            "running": [(name, *held) for name, held in account.running.items()],
            "asks": [(ask.id, ask.tokens) for ask in asks],
        }

    def _take_in(
        self, tenant: str, asks: Sequence[Ask], sent: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> list[float]:
        account = self._accounts[tenant]
        self._clock_ahead_ms = answer["now"] - time.time() * 1000
        account.told(sent["used"], sent["ended"])
        waits = [wait / 1000 for wait in answer["verdicts"]]
        account.granted((ask for ask, wait in zip(asks, waits, strict=True) if wait == 0), answer["slot"])
        if self.is_shared:  # before, Redis has not heard of what the others have used
            account.heard(answer["used"])
        return waits

    def _lost(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("quotas: Redis %s", shown(cause_of(self._cache, error).reason))
        self._is_away = True
        for account in self._accounts.values():
            account.forgotten()

    def _found(self) -> None:
        if self._is_away:
            self._is_away = False
            self._trusted_at = time.monotonic() + self._timing.settle_s
        if self._said and self.is_shared:
            self._said = False
            log.info("quotas are kept in Redis again")


def _raise_if_cancelled() -> None:
    """The client may lose a cancellation that comes while it looks whether a connection of its pool has unread data."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _key(tenant: str) -> str:
    return f"pelton:q1:{{{tenant}}}"


def _limits(quota: Quota) -> list[int]:
    given = (quota.requests_per_minute, quota.tokens_per_minute, quota.running)
    return [NO_LIMIT if limit is None else limit for limit in given]
