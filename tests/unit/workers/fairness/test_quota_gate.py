"""Between single-flight and the line: who is charged, who waits, who is refused, and what is given back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from pelton.cache.quotas.account import Ask
from pelton.cache.quotas.store import QuotaStore
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.quota import QuotaSettings
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheKeys, Failed, PreparedRequest, Result
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import ANSWER, URGENT, job, urgent_ones

LIMIT_S = 5
TENANT = (("pelton-tenant", b"bound"),)


class FakeStore:
    """So many may run at once; `settled` says what each cost in the end."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.settled: list[tuple[int, int]] = []

    async def reserve(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, list[float]]:
        return {tenant: [self._decide() for _ in asks] for tenant, asks in wanted.items()}

    def _decide(self) -> float:
        if self.held >= self.most:
            return 60.0
        self.held += 1
        return 0

    def settle(self, _tenant: str, _name: str, *, requests: int, tokens: int) -> None:
        self.held -= 1
        self.settled.append((requests, tokens))

    async def run(self) -> None:
        await asyncio.Event().wait()


class Desk:
    def __init__(self, over: str = "wait", most: int = 1, max_requests: int = 100) -> None:
        tenants = {"bound": {"running": most, "tokens_per_minute": 50}}
        quota = QuotaSettings.model_validate({"tenants": tenants, "over": over})
        self.store = FakeStore(most)
        self.line: RequestQueue[Generation] = RequestQueue(max_tokens=1_000, max_requests=max_requests)
        self.ended: asyncio.Queue[Result] = asyncio.Queue()
        self.single_flight = SingleFlight(max_waiting=100)
        self.open = OpenRequests(self, self.single_flight.leave)
        self.gate = QuotaGate(
            settings=quota, store=cast(QuotaStore, self.store), queue=self.line, single_flight=self.single_flight,
            open_requests=self.open, metrics=Metrics(),
        )  # fmt: skip

    async def put_all(self, items: Iterable[Result]) -> None:
        for each in items:
            self.ended.put_nowait(each)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.gate.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                yield
        finally:
            self.line.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def enter(self, *jobs: PreparedRequest) -> list[Generation | None]:
        generations = []
        for one in jobs:
            self.open.add(one.delivery)
            generations.append(self.single_flight.join(one))
            if (generation := generations[-1]) is not None:
                await self.gate.enter(generation)
        return generations

    async def take(self) -> Generation:
        """What the inference thread takes next."""
        [queued] = await asyncio.to_thread(self.line.take, lambda _: ((0,), None), block=True)
        return queued.item

    async def refused(self) -> tuple[int, str]:
        """Which request ended with what error."""
        ended = await self.ended.get()
        assert isinstance(ended, Failed)
        return ended.delivery.record.source.offset, ended.error.code


def bound(number: int, keys: CacheKeys = CacheKeys(), *more: tuple[str, bytes]) -> PreparedRequest:  # noqa: B008
    return job(number, keys, headers=(*TENANT, *more))


async def test_who_is_over_the_quota_waits_and_nobody_else_does() -> None:
    """What was charged is corrected at the end, and the next goes; who leaves while it waits is passed over."""
    desk = Desk()
    jobs = [bound(number) for number in range(3)]
    async with desk.running():
        await desk.enter(*jobs, job(9, CacheKeys()))
        taken = [await desk.take(), await desk.take()]
        assert {each.job.delivery.record.source.offset for each in taken} == {0, 9}
        assert desk.gate.waiting == 2
        desk.open.remove(jobs[1].delivery)
        first = next(each for each in taken if each.job is jobs[0])
        first.begin()
        first.end(tokens=7)
        desk.open.remove(jobs[0].delivery)
        assert (await desk.take()).job is jobs[2]
        assert desk.store.settled == [(1, 7)]


async def test_what_never_ran_is_given_back_and_what_was_cut_off_is_not() -> None:
    """Its estimate stands."""
    desk = Desk(most=2)
    jobs = [bound(number) for number in range(4)]
    async with desk.running():
        await desk.enter(*jobs)
        for begun in (True, False):
            taken = await desk.take()
            if begun:
                taken.begin()
            desk.open.remove(taken.job.delivery)
        await desk.take()
        await desk.take()
        assert desk.store.settled == [(1, 2), (0, 0)]


async def test_urgent_requests_of_a_tenant_go_before_its_others() -> None:
    """Also while those wait for their quota."""
    desk = Desk(most=1)
    jobs = [bound(0), bound(1), bound(2, CacheKeys(), *URGENT)]
    async with desk.running():
        await desk.enter(jobs[0])
        first = await desk.take()
        await desk.enter(*jobs[1:])
        desk.open.remove(first.job.delivery)
        [queued] = await asyncio.to_thread(desk.line.take, urgent_ones, block=True)
        assert queued.item.job is jobs[2]


async def test_each_who_waits_for_a_refused_answer_is_judged_by_itself() -> None:
    """By setting nobody waits: the error is for the first, the others are asked for anew."""
    desk = Desk(over="refuse", most=1)
    async with desk.running():
        await desk.enter(bound(0), bound(1, ANSWER), bound(2, ANSWER))
        assert (await desk.take()).job.delivery.record.source.offset == 0
        assert await desk.refused() == (1, "rate_limited")
        again = await desk.single_flight.next_returning(0)
        assert again.job.delivery.record.source.offset == 2
        await desk.gate.enter(again, first=True)
        assert await desk.refused() == (2, "rate_limited")
    assert desk.gate.waiting == 0
