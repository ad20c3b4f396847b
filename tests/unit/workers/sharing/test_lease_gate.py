"""Leases between choosing a generation and running it: what each answer of the leases does to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

from pelton.cache.replies.leases import LeaseOutcome, Leases
from pelton.cache.replies.values import Found, Tier
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, CacheKeys, PreparedRequest
from pelton.workers.sharing.generation import Finished, Generation
from pelton.workers.sharing.lease_gate import LeaseGate
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import BODY, URGENT, job, urgent_ones

LIMIT_S = 5


class FakeLeases:
    """Answers as the test says; a key that is not spoken of is granted."""

    def __init__(self) -> None:
        self.standings: dict[str, LeaseOutcome | Found] = {}
        self.scripts: dict[str, list[LeaseOutcome | Found]] = {}
        self.seen: dict[str, Found | bool] = {}
        self.asked: list[list[str]] = []
        self.looked = asyncio.Event()
        self.released: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def acquire(self, keys: Sequence[str]) -> dict[str, LeaseOutcome | Found]:
        self.asked.append(list(keys))
        await self.answering.wait()
        return {key: self._standing(key) for key in keys}

    def _standing(self, key: str) -> LeaseOutcome | Found:
        script = self.scripts.get(key)
        return script.pop(0) if script else self.standings.get(key, LeaseOutcome.LEADER)

    async def look(self, keys: Sequence[str]) -> dict[str, Found | bool]:
        self.looked.set()
        return {key: self.seen.get(key, True) for key in keys}

    def release(self, key: str) -> None:
        self.released.append(key)


class Desk:
    """A queue, its generations and their leases; `take` is what the inference thread does."""

    def __init__(self, longest_wait_s: float = 60) -> None:
        self.line: RequestQueue[Generation] = RequestQueue(max_tokens=100, max_requests=100)
        self.results: LingerQueue[Finished] = LingerQueue(100)
        self.leases = FakeLeases()
        self.single_flight = SingleFlight(max_waiting=100, leased=True, release=self.leases.release)
        self.open_requests = OpenRequests(self.results, self.single_flight.leave)
        self.gate = LeaseGate(
            self.single_flight, cast(Leases, self.leases), self.line, self.open_requests, longest_wait_s
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Desk"]:
        running = asyncio.create_task(self.gate.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                yield self
        finally:
            self.line.close()  # whoever still waits for it would wait for ever
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def join(self, *jobs: PreparedRequest) -> None:
        for one in jobs:
            self.open_requests.add(one.delivery)
            if (generation := self.single_flight.join(one)) is not None:
                await self.line.put(generation.queued)

    def take(self) -> list[PreparedRequest]:
        return self._jobs(block=False)

    async def taken(self) -> list[PreparedRequest]:
        """What the queue gives, once it gives something."""
        return await asyncio.to_thread(self._jobs, block=True)

    def _jobs(self, *, block: bool) -> list[PreparedRequest]:
        taken = self.line.take(lambda queued: (self.gate.runnable(queued, range(len(queued))), None), block=block)
        return [each.item.job for each in taken]

    def finish(self, one: PreparedRequest) -> None:
        """It is answered."""
        generation = self.single_flight.of(one.delivery)
        assert generation is not None
        self.single_flight.finish(generation)

    async def ended(self) -> list[Finished]:
        """The next results."""
        async for results in self.results.batches():
            return results
        raise AssertionError("closed")


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # what is looked at has no event
        await asyncio.sleep(0.001)


async def test_a_granted_lease_lets_it_run():
    """What needs none runs at once; the others are asked for together, once, and run when the queue is notified."""
    async with Desk().open() as desk:
        free, *leased = [job(0, CacheKeys()), job(1, CacheKeys("a")), job(2, CacheKeys("b"))]
        await desk.join(free, *leased)
        assert desk.take() == [free]
        assert desk.take() == []
        assert await desk.taken() == leased
        assert desk.leases.asked == [["a", "b"]]
        desk.finish(leased[0])
        assert desk.leases.released == ["a"]


async def test_without_anybody_to_ask_it_runs_without_a_lease():
    """And there is nothing to give back."""
    async with Desk().open() as desk:
        one = job(0)
        desk.leases.standings["answer"] = LeaseOutcome.ALONE
        await desk.join(one)
        assert await desk.taken() == [one]
        desk.finish(one)
        assert desk.leases.released == []


async def test_what_another_worker_generates_leaves_the_queue():
    """It takes no tokens while it waits, nor do those who join it; when the answer is there all get it."""
    async with Desk().open() as desk:
        places = [job(number) for number in range(3)]
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.join(*places)
        assert desk.take() == []
        await desk.leases.looked.wait()
        assert (len(desk.line), desk.line.tokens, desk.single_flight.waiting) == (0, 0, 3)
        desk.leases.seen["answer"] = Found(BODY, Tier.REMOTE)
        endings = await desk.ended()
        assert endings == [CacheHit(one.delivery, one.keys, BODY, CacheOutcome.JOINED) for one in places]
        assert desk.leases.released == []


async def test_an_answer_that_came_meanwhile_is_a_hit():
    """It was written between the look-up and the lease: nothing is generated."""
    async with Desk().open() as desk:
        one, follower = job(0), job(1)
        desk.leases.standings["answer"] = Found(BODY, Tier.REMOTE)
        await desk.join(one, follower)
        assert desk.take() == []
        outcomes = {hit.delivery: hit.outcome for hit in await desk.ended() if isinstance(hit, CacheHit)}
        assert outcomes == {one.delivery: CacheOutcome.HIT_REMOTE, follower.delivery: CacheOutcome.JOINED}
        assert len(desk.line) == 0


async def test_when_nobody_generates_any_more_the_lease_is_asked_for_again():
    """The other worker died or failed: of all who waited one gets the lease, this one here."""
    async with Desk().open() as desk:
        one, younger = job(0), job(1, CacheKeys("other"))
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.join(one)
        assert desk.take() == []
        await desk.leases.looked.wait()
        await desk.join(younger)
        del desk.leases.standings["answer"]
        desk.leases.seen["answer"] = False
        await until(lambda: len(desk.line) == 2)
        assert await desk.taken() == [one, younger], "it is ahead of those that came after it"
        assert desk.leases.asked == [["answer"], ["answer", "other"]]


async def test_who_waits_too_long_runs_all_the_same():
    """Without asking again."""
    async with Desk(longest_wait_s=0).open() as desk:
        one = job(0)
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.join(one)
        assert desk.take() == []
        assert await desk.taken() == [one]
        assert desk.leases.asked == [["answer"]]


async def test_a_lease_that_nobody_wants_any_more_is_given_back():
    """Its requests were lost while it was asked for."""
    async with Desk().open() as desk:
        one = job(0)
        desk.leases.answering.clear()
        await desk.join(one)
        assert desk.take() == []
        await until(lambda: desk.leases.asked)
        desk.open_requests.abandon({one.delivery.tracker})
        desk.leases.answering.set()
        await until(lambda: desk.leases.released)
        assert desk.leases.released == ["answer"]


async def test_who_leaves_while_the_lease_is_asked_for_leaves_it_to_the_rest():
    """The lease is the generation's: it runs for those who wait on, and nothing is asked again."""
    async with Desk().open() as desk:
        hasty, patient = job(0), job(1)
        desk.leases.answering.clear()
        await desk.join(hasty, patient)
        assert desk.take() == []
        await until(lambda: desk.leases.asked)
        desk.open_requests.remove(hasty.delivery)
        desk.leases.answering.set()
        assert await desk.taken() == [hasty], "it is what is computed still"
        assert desk.leases.asked == [["answer"]]


async def ask_twice(desk: Desk, first: LeaseOutcome, second: LeaseOutcome) -> PreparedRequest:
    """All are gone when it is answered, and an equal request has asked meanwhile: that one."""
    hasty, patient = job(0), job(1)
    desk.leases.answering.clear()
    desk.leases.scripts["answer"] = [first, second]
    await desk.join(hasty)
    assert desk.take() == []
    await until(lambda: desk.leases.asked)
    desk.open_requests.remove(hasty.delivery)
    desk.line.remove_if(lambda queued: not queued.item.wanted)
    await desk.join(patient)
    assert desk.take() == []
    desk.leases.answering.set()
    await until(lambda: len(desk.leases.asked) == 2 and not desk.leases.scripts["answer"])
    return patient


async def test_a_generation_that_may_run_is_not_parked_any_more():
    """Of two answers the first counts."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.ALONE, LeaseOutcome.FOLLOWER)
        assert desk.single_flight.parked == []
        assert await desk.taken() == [patient]


async def test_a_parked_generation_that_gets_the_lease_runs():
    """The other worker has just died: nobody waits for a lease that is this worker's own."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.FOLLOWER, LeaseOutcome.LEADER)
        assert await desk.taken() == [patient]
        assert desk.single_flight.parked == []
        desk.finish(patient)
        assert desk.leases.released == ["answer"]


async def test_a_parked_generation_waits_on_when_nobody_can_tell():
    """One slow answer does not send it off to generate what another worker nearly has."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.FOLLOWER, LeaseOutcome.ALONE)
        await desk.leases.looked.wait()
        (parked,) = desk.single_flight.parked
        assert parked is desk.single_flight.of(patient.delivery)
        assert not parked.may_run


async def test_what_nobody_waits_for_leaves_the_queue_without_a_lease():
    """Its last request left while it waited for room in the queue: asked for again and again, it would stay there."""
    async with Desk().open() as desk:
        one = job()
        generation = desk.single_flight.join(one)
        desk.single_flight.leave(one.delivery)
        await desk.line.put(generation.queued)
        assert desk.take() == [one]
        assert desk.leases.asked == []


async def test_a_lane_without_room_holds_up_no_return_of_the_other():
    """A batch generation that failed waits for room, and an interactive one behind it goes by."""
    desk = Desk()
    async with desk.open():
        await desk.join(job(0, CacheKeys("full")))
        pairs = [(job(n, CacheKeys(key), headers=h), job(n + 1, CacheKeys(key), headers=h))
                 for n, key, h in ((1, "batch", ()), (3, "urgent", URGENT))]  # fmt: skip
        for one, _ in pairs:
            desk.open_requests.add(one.delivery)
        batch, urgent = (desk.single_flight.join(one) for one, _ in pairs)
        for _, other in pairs:
            desk.open_requests.add(other.delivery)
            desk.single_flight.join(other)
        await desk.line.put(replace(desk.single_flight.get("full").queued, max_new_tokens=97))
        for generation in (batch, urgent):
            assert generation is not None
            desk.single_flight.fail(generation, fault=False)
        (taken,) = await asyncio.to_thread(desk.line.take, urgent_ones, block=True)
        assert taken.item.job is pairs[1][1]
        assert desk.line.free_requests(0) == 0
