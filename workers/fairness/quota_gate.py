"""The way into the line for generations whose tenant has a quota: charged first, else they wait here or are refused.

What waits here takes no room in the line, and holds up nobody but its own tenant.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from pelton.cache.quotas.account import Ask
from pelton.cache.quotas.store import QuotaStore
from pelton.pipeline.errors import RateLimited
from pelton.pipeline.metrics import Metrics, QuotaOutcome
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.quota import Quota, QuotaSettings
from pelton.pipeline.wire.contract import Lane
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import Failed
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight

ASKED_AT_ONCE = 32
"""Of one tenant in one round trip."""
WAITING_PER_PLACE = 4
"""Generations that may wait for their quota, for each that may wait in the line."""
SHORTEST_WAIT_S = 0.02


@dataclass(slots=True)
class _Tenant:
    """`waiting` says of each whether it was over the quota already; `look_at` is when to ask again (on
    `time.monotonic`'s clock).
    """

    waiting: dict[Generation, bool] = field(default_factory=dict)
    look_at: float = 0.0


class QuotaGate:
    """Lives on the event loop."""

    def __init__(  # noqa: PLR0913  # what it decides by, and where those go that it lets by or refuses
        self,
        *,
        settings: QuotaSettings,
        store: QuotaStore,
        queue: RequestQueue[Generation],
        single_flight: SingleFlight,
        open_requests: OpenRequests,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._limits_nobody = not settings.any
        self._store = store
        self._queue = queue
        self._single_flight = single_flight
        self._open = open_requests
        self._decisions = metrics.quota_decisions
        self._clock = clock
        self._tenants: dict[str, _Tenant] = {}
        self._partitions: Counter[TopicPartition] = Counter()
        self._arrived = asyncio.Event()
        self._granted: defaultdict[int, asyncio.Queue[Generation]] = defaultdict(asyncio.Queue)

    @property
    def waiting(self) -> int:
        """Generations that wait for their quota or, charged already, for room in the line."""
        return self._partitions.total()

    def has_room(self, partition: TopicPartition, partitions: int) -> bool:
        """Whether more of this partition may be fetched, one of so many."""
        most = WAITING_PER_PLACE * self._queue.max_requests
        return self._partitions[partition] < max(1, most // max(1, partitions))

    async def enter(self, generation: Generation, *, first: bool = False) -> None:
        """Bring it into the line, at its end or its front, waiting for room; where there is a quota, leave it here."""
        if self._limits_nobody or generation.reserved or not (quota := self._settings.of(_tenant(generation))).is_set:
            await self._queue.put(generation.queued, first=first)
            return
        if _never_fits(generation, quota):
            await self._refuse(generation, _too_large(generation, quota))
            return
        self._tenants.setdefault(_tenant(generation), _Tenant()).waiting[generation] = False
        self._partitions[_partition(generation)] += 1
        self._arrived.set()

    async def run(self) -> None:
        """Charge, let by and refuse, for ever."""
        async with asyncio.TaskGroup() as tasks:
            if self._settings.any:
                tasks.create_task(self._store.run())
            tasks.create_task(self._decide())
            tasks.create_task(self._settle())
            for lane in Lane:
                tasks.create_task(self._let_in(lane.priority))

    async def _decide(self) -> None:
        while True:
            await self._something_is_due()
            asked = {name: due for name in list(self._tenants) if (due := self._due(name))}
            asks = {name: [_ask(each) for each in due] for name, due in asked.items()}
            if asks:
                waits = await self._store.reserve(asks)
                for name, due in asked.items():
                    await self._apply(name, due, waits[name])

    async def _something_is_due(self) -> None:
        """Wait until a generation has come, or one that waits may fit."""
        now = self._clock()
        looks = [tenant.look_at for tenant in self._tenants.values()]
        self._arrived.clear()
        if any(look <= now for look in looks):
            return
        try:
            async with asyncio.timeout(max(SHORTEST_WAIT_S, min(looks) - now) if looks else None):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _due(self, name: str) -> list[Generation]:
        """Whose quota is to be asked for now: the urgent first, then as they came."""
        tenant = self._tenants[name]
        for gone in [each for each in tenant.waiting if not each.wanted]:
            self._forget(name, gone)
            self._partitions[_partition(gone)] -= 1
        if tenant.look_at > self._clock():
            return []
        return sorted(tenant.waiting, key=lambda each: -each.priority)[:ASKED_AT_ONCE]

    async def _apply(self, name: str, asked: Sequence[Generation], waits: Sequence[float]) -> None:
        quota, later = self._settings.of(name), 0.0
        for generation, wait_s in zip(asked, waits, strict=True):
            if wait_s == 0:
                self._forget(name, generation)
                self._admit(generation)
            elif self._settings.over == "refuse":
                self._forget(name, generation)
                self._partitions[_partition(generation)] -= 1
                await self._refuse(generation, _used_up(generation, quota, wait_s))
            else:
                self._note_wait(name, generation)
                later = max(later, wait_s)
        if later and name in self._tenants:
            self._tenants[name].look_at = self._clock() + max(SHORTEST_WAIT_S, later)

    def _note_wait(self, name: str, generation: Generation) -> None:
        if not self._tenants[name].waiting[generation]:
            self._tenants[name].waiting[generation] = True
            self._decisions.labels(QuotaOutcome.WAITED).inc()

    def _forget(self, name: str, generation: Generation) -> None:
        tenant = self._tenants[name]
        del tenant.waiting[generation]
        if not tenant.waiting:
            del self._tenants[name]

    def _admit(self, generation: Generation) -> None:
        self._decisions.labels(QuotaOutcome.GRANTED).inc()
        generation.charged()
        if not generation.wanted:  # all have left while Redis was asked
            self._single_flight.ended.put_nowait(generation)
        self._granted[generation.priority].put_nowait(generation)

    async def _let_in(self, priority: int) -> None:
        """Each lane by itself: while there is no room for one, the other need not wait."""
        while True:
            generation = await self._granted[priority].get()
            if generation.wanted:
                await self._queue.put(generation.queued)
            self._partitions[_partition(generation)] -= 1

    async def _refuse(self, generation: Generation, error: RateLimited) -> None:
        """The error is for who has waited longest; others who wait for the same answer are asked for anew."""
        self._decisions.labels(QuotaOutcome.REFUSED).inc()
        delivery = self._single_flight.fail(generation, fault=False)
        if delivery is not None:
            await self._open.end([Failed(delivery, error)])

    async def _settle(self) -> None:
        """Correct what was charged for what has ended."""
        while True:
            generation = await self._single_flight.ended.get()
            name = _tenant(generation)
            tokens = generation.taken
            if tokens is None:  # what it took, cut off, is not known: what may have been stands
                tokens = generation.queued.tokens if generation.begun else 0
            self._store.settle(name, _ask(generation).id, requests=int(generation.begun), tokens=tokens)
            if (tenant := self._tenants.get(name)) is not None:
                tenant.look_at = 0.0
                self._arrived.set()


def _tenant(generation: Generation) -> str:
    return generation.job.delivery.envelope.tenant


def _partition(generation: Generation) -> TopicPartition:
    source = generation.job.delivery.record.source
    return TopicPartition(source.topic, source.partition)


def _ask(generation: Generation) -> Ask:
    """Named by its record, so that another worker which answers it takes over what was charged for it."""
    record = generation.job.delivery.record
    return Ask(f"{record.source}@{record.timestamp_ms}", generation.queued.tokens)


def _never_fits(generation: Generation, quota: Quota) -> bool:
    return quota.tokens_per_minute is not None and generation.queued.tokens > quota.tokens_per_minute


def _too_large(generation: Generation, quota: Quota) -> RateLimited:
    return RateLimited(
        f"Tenant {_tenant(generation)!r} may use {quota.tokens_per_minute} tokens a minute, and this request may take "
        f"{generation.queued.tokens}: shorten it or lower max_tokens, or have the operator raise the quota.",
        param="max_tokens",
    )


def _used_up(generation: Generation, quota: Quota, wait_s: float) -> RateLimited:
    return RateLimited(
        f"Tenant {_tenant(generation)!r} has used up its quota ({_words(quota)}): send the request again in "
        f"{wait_s:.1f} s.",
        retry_after_s=wait_s,
    )


def _words(quota: Quota) -> str:
    bounds: Mapping[str, int | None] = {
        "requests a minute": quota.requests_per_minute,
        "tokens a minute": quota.tokens_per_minute,
        "at once": quota.running,
    }
    return ", ".join(f"{limit} {what}" for what, limit in bounds.items() if limit is not None)
