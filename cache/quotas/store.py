"""Quotas in Redis or Valkey: reserved before a request runs, corrected when it has ended.

While Redis is away, or where none is set, each worker gives its part of each quota, what all had used before included.
After an outage it gives no more than its part and no more than Redis grants, for a window's length (see `belief.py`).
"""

import asyncio
import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from pelton.cache.causes import cause_of
from pelton.cache.connection import connect, round_trip
from pelton.cache.quotas.account import LOOK_MS, Account, Ask
from pelton.cache.quotas.belief import Belief, Timing
from pelton.cache.quotas.group_size import GroupSize
from pelton.cache.quotas.script import EPOCH, EPOCH_KEY, SYNC
from pelton.cache.quotas.waits import fitting, in_order, merged
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.quota import Quota, QuotaSettings

log = logging.getLogger(__name__)

OPERATION_S = 1.0
"""How long one round trip may take."""
PEERS_S = 10.0
"""How often to count the workers of the group."""
TRIES = 3
"""Where what this worker knows of Redis's data turns out to be old, it asks once more as it should have."""
EPOCH_KEPT = 2
"""How long the data have a name when all workers are gone, in windows: until nothing in them counts."""
NO_LIMIT = -1


_Waits = Sequence[float] | None
"""The answer to what was asked for one tenant; None where the worker has to ask anew."""


class QuotaStore:
    """Lives on one event loop. Never raises because Redis is slow or gone."""

    def __init__(
        self,
        cache: CacheSettings,
        settings: QuotaSettings,
        worker: str,
        count_workers: Callable[[], Awaitable[int]],
        timing: Timing | None = None,
    ) -> None:
        """`worker` is this one's name among all; `count_workers` may raise, and is asked again later."""
        self._cache = cache.model_copy(update={"redis_url": settings.redis_url or cache.redis_url})
        self._redis: Redis | None = connect(self._cache, timeout_s=OPERATION_S) if self._cache.redis_url else None
        self._settings = settings
        self._worker = worker
        self._count_workers = count_workers
        self._timing = timing = timing or Timing()
        self._accounts: defaultdict[str, Account] = defaultdict(Account)
        self._one_at_a_time = asyncio.Lock()
        self._belief = Belief(timing, time.monotonic())
        self._size = GroupSize(timing.leaves_s)
        self._clock_ahead_ms = 0.0
        self._said = False

    @property
    def is_shared(self) -> bool:
        """Whether Redis decides alone just now."""
        return self._redis is not None and self._belief.is_whole(time.monotonic())

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def reserve(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, list[float]]:
        """Ask for each tenant whether its requests may run, in their order: 0 where one may, else the seconds to wait.

        With `over = "wait"` none of a tenant is granted before one that came earlier.
        """
        async with self._one_at_a_time:
            for _ in range(TRIES):
                held = {tenant: self._held_back(tenant, asks) for tenant, asks in wanted.items()}
                if self._redis is None or self._belief.is_away:
                    return {tenant: self._grant(tenant, asks, held[tenant]) for tenant, asks in wanted.items()}
                fit = {tenant: fitting(asks, held[tenant]) for tenant, asks in wanted.items()}
                answers = await self._sync(fit)
                if answers is not None and None not in answers.values():
                    return {tenant: merged(held[tenant], answers[tenant] or ()) for tenant in wanted}
            return {tenant: [LOOK_MS / 1000] * len(asks) for tenant, asks in wanted.items()}

    def settle(self, tenant: str, name: str, *, requests: int, tokens: int) -> None:
        """The request so named has ended, and counts as so many requests and tokens."""
        if tenant in self._accounts:
            self._accounts[tenant].settle(name, requests, tokens)

    async def run(self) -> None:
        """Keep Redis and this worker informed of each other, for ever."""
        started = look_at = time.monotonic()
        while True:
            await self.beat()
            if (now := time.monotonic()) >= look_at:
                look_at = now + (PEERS_S if now >= started + PEERS_S else 0.0)  # workers often start together
                await self._look_for_workers()
            await asyncio.sleep(self._timing.beat_s)

    async def beat(self) -> None:
        """Tell Redis what it does not know yet and what still runs, and hear of what all have used."""
        oldest = self._timing.window.first(self._now_ms())
        for tenant, account in list(self._accounts.items()):
            account.forget_before(oldest)
            if account.is_empty:
                del self._accounts[tenant]
        if self._redis is None:
            return
        async with self._one_at_a_time:
            await self._sync({tenant: [] for tenant in self._accounts})

    async def _look_for_workers(self) -> None:
        try:
            async with asyncio.timeout(PEERS_S):
                self._size.counted(await self._count_workers(), time.monotonic())
        except Exception as error:  # noqa: BLE001  # whatever it is, the last count will do until the next
            log.debug("the workers of the group cannot be counted: %r", error)

    def _held_back(self, tenant: str, asks: Sequence[Ask]) -> list[float]:
        """How long each is to wait before Redis is asked at all, in seconds: where that may not know of all use, no
        worker gives more than its part.
        """
        if self.is_shared:
            return [0.0] * len(asks)
        account, now = self._accounts[tenant], time.monotonic()
        held_s = 0.0 if self._redis is None else self._belief.holds_back_s(now, knows_tenant=account.known)
        if held_s > 0:
            return [held_s] * len(asks)
        if not self._said and (self._redis is None or not self._belief.is_new):
            self._say()
        window, workers = self._timing.window, self._size.most(now)
        waits = account.part_waits(asks, self._settings.of(tenant), window, self._now_ms(), workers)
        return in_order([wait_ms / 1000 for wait_ms in waits], strictly=self._settings.over == "wait")

    def _say(self) -> None:
        """Once for each time that Redis goes away."""
        self._said = True
        why = "is not set (quota.redis_url or cache.redis_url)" if self._redis is None else "is away or was just now"
        workers = self._size.most(time.monotonic())
        log.warning("quotas are kept by each worker for its part of %d, as Redis %s", workers, why)

    def _grant(self, tenant: str, asks: Sequence[Ask], waits: list[float]) -> list[float]:
        """By this worker alone."""
        slot = self._timing.window.slot(self._now_ms())
        for ask in fitting(asks, waits):
            self._accounts[tenant].grant(ask, slot)
        return waits

    def _now_ms(self) -> float:
        return time.time() * 1000 + self._clock_ahead_ms

    async def _sync(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, _Waits] | None:
        """One round trip; None where Redis did not answer."""
        if self._redis is None:
            return None
        sent = {tenant: self._request(tenant, asks) for tenant, asks in wanted.items()}
        try:
            async with round_trip(self._redis, OPERATION_S) as pipe:
                pipe.execute_command("EVAL", EPOCH, 1, EPOCH_KEY, *self._epoch())
                for tenant, request in sent.items():
                    pipe.execute_command("EVAL", SYNC, 2, _key(tenant), EPOCH_KEY, json.dumps(request))
                epoch, *answers = map(json.loads, await pipe.execute())
        except Exception as error:  # noqa: BLE001  # what answers may be no Redis, and make the client raise anything
            self._lost(error)
            return None
        self._found(epoch)
        return {
            tenant: self._take_in(tenant, wanted[tenant], sent[tenant], answer)
            for tenant, answer in zip(sent, answers, strict=True)
        }

    def _epoch(self) -> list[str]:
        marks = str(int(self._belief.marks(time.monotonic())))
        return [uuid.uuid4().hex, self._belief.epoch, marks, str(EPOCH_KEPT * self._timing.window.length_ms)]

    def _request(self, tenant: str, asks: Sequence[Ask]) -> dict[str, Any]:
        account, timing = self._accounts[tenant], self._timing
        # What runs is sent with each beat; sent with each request, it would cost Redis work for all that runs.
        running = () if asks and self.is_shared else account.running.items()
        return {
            "worker": self._worker,
            "window_ms": timing.window.length_ms,
            "slots": timing.window.slots,
            "running_ms": timing.running_s * 1000,
            "look_ms": LOOK_MS,
            "epoch": self._belief.epoch,
            "careful": not self.is_shared,
            "limits": _limits(self._settings.of(tenant)),
            "in_order": self._settings.over == "wait",
            "used": account.to_send(),
            "ended": list(account.ended),
            "running": [(name, *held) for name, held in running],
            "asks": [(ask.id, ask.tokens) for ask in asks],
        }

    def _take_in(self, tenant: str, asks: Sequence[Ask], sent: Mapping[str, Any], answer: Mapping[str, Any]) -> _Waits:
        account = self._accounts[tenant]
        account.told(sent["used"], sent["ended"])
        if answer.get("stale"):
            return None
        waits = [wait / 1000 for wait in answer["verdicts"]]
        account.granted((ask for ask, wait in zip(asks, waits, strict=True) if wait == 0), answer["slot"])
        if self.is_shared and not sent["careful"]:  # else Redis may not have heard of what the others have used
            account.heard(answer["used"])
        return waits

    def _lost(self, error: Exception) -> None:
        if not self._belief.is_away:
            log.warning("quotas: Redis %s", shown(cause_of(self._cache, error).reason))
        self._belief.lost(time.monotonic())
        self._forget()

    def _forget(self) -> None:
        for account in self._accounts.values():
            account.forgotten()

    def _found(self, epoch: Mapping[str, Any]) -> None:
        self._clock_ahead_ms = epoch["now"] - time.time() * 1000
        if self._belief.heard(time.monotonic(), epoch["id"], epoch["ago"]):
            self._forget()
        if self._said and self.is_shared:
            self._said = False
            log.info("quotas are kept in Redis again")


def _key(tenant: str) -> str:
    return f"pelton:q1:{{{tenant}}}"


def _limits(quota: Quota) -> list[int]:
    given = (quota.requests_per_minute, quota.tokens_per_minute, quota.running)
    return [NO_LIMIT if limit is None else limit for limit in given]
