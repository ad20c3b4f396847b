"""Leases between choosing a request and running it: what each answer of the leases does to a flight."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from pelton.cache.replies.leases import LeaseOutcome, Leases
from pelton.cache.replies.values import Found, Tier
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, CacheKeys, PreparedRequest, Result
from pelton.workers.sharing.lease_gate import LeaseGate
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.flights import BODY, place, ticket_of

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
    """A line, its flights and their clearance; `take` is what the inference thread does."""

    def __init__(self, longest_wait_s: float = 60) -> None:
        self.line: RequestQueue[PreparedRequest] = RequestQueue(max_tokens=100, max_requests=100)
        self.endings: LingerQueue[Result] = LingerQueue(100)
        self.leases = FakeLeases()
        self.flights = SingleFlight(most_waiting=100, leased=True, release=self.leases.release)
        self.clearance = LeaseGate(self.flights, cast(Leases, self.leases), self.line, self.endings, longest_wait_s)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Desk"]:
        running = asyncio.create_task(self.clearance.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                yield self
        finally:
            self.line.close()  # whoever still waits for it would wait for ever
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def board(self, *places: QueuedRequest[PreparedRequest]) -> None:
        for one in places:
            if self.flights.board(one):
                await self.line.put(one)

    def take(self) -> list[QueuedRequest[PreparedRequest]]:
        return self.line.take(lambda places: (self.clearance.of(places, range(len(places))), None), block=False)

    async def taken(self) -> list[QueuedRequest[PreparedRequest]]:
        """What the line gives, once it gives something."""
        return await asyncio.to_thread(
            self.line.take, lambda places: (self.clearance.of(places, range(len(places))), None), block=True
        )

    async def ended(self) -> list[Result]:
        """The next endings."""
        async for endings in self.endings.batches():
            return endings
        raise AssertionError("closed")


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # what is looked at has no event
        await asyncio.sleep(0.001)


async def test_a_granted_lease_lets_the_leader_run():
    """What needs none runs at once; the others are asked for together, once, and run when the line is poked."""
    async with Desk().open() as desk:
        free, *leased = [place(0, CacheKeys()), place(1, CacheKeys("a")), place(2, CacheKeys("b"))]
        await desk.board(free, *leased)
        assert desk.take() == [free]
        assert desk.take() == []
        assert await desk.taken() == leased
        assert desk.leases.asked == [["a", "b"]]
        assert desk.flights.landed(ticket_of(leased[0]), BODY, BODY) == []
        assert desk.leases.released == ["a"]


async def test_without_anybody_to_ask_it_runs_without_a_lease():
    """And there is nothing to give back."""
    async with Desk().open() as desk:
        one = place(0)
        desk.leases.standings["answer"] = LeaseOutcome.ALONE
        await desk.board(one)
        assert await desk.taken() == [one]
        desk.flights.landed(ticket_of(one), BODY, BODY)
        assert desk.leases.released == []


async def test_what_another_worker_generates_leaves_the_line():
    """It takes no tokens while it waits, nor do its followers; when the answer is there all get it."""
    async with Desk().open() as desk:
        places = [place(number) for number in range(3)]
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.board(*places)
        assert desk.take() == []
        await desk.leases.looked.wait()
        assert (len(desk.line), desk.line.tokens, desk.flights.waiting) == (0, 0, 3)
        desk.leases.seen["answer"] = Found(BODY, Tier.REMOTE)
        endings = await desk.ended()
        assert endings == [CacheHit(ticket_of(one), one.item.keys, BODY, CacheOutcome.JOINED) for one in places]
        assert desk.leases.released == []


async def test_an_answer_that_came_meanwhile_is_a_hit():
    """It was written between the look-up and the lease: nothing is generated."""
    async with Desk().open() as desk:
        one, follower = place(0), place(1)
        desk.leases.standings["answer"] = Found(BODY, Tier.REMOTE)
        await desk.board(one, follower)
        assert desk.take() == []
        outcomes = {ending.ticket: ending.outcome for ending in await desk.ended()}
        assert outcomes == {ticket_of(one): CacheOutcome.HIT_REMOTE, ticket_of(follower): CacheOutcome.JOINED}
        assert len(desk.line) == 0


async def test_when_nobody_generates_any_more_the_lease_is_asked_for_again():
    """The other worker died or failed: of all who waited one gets the lease, this one here."""
    async with Desk().open() as desk:
        one, younger = place(0), place(1, CacheKeys("other"))
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.board(one)
        assert desk.take() == []
        await desk.leases.looked.wait()
        await desk.board(younger)
        del desk.leases.standings["answer"]
        desk.leases.seen["answer"] = False
        await until(lambda: len(desk.line) == 2)
        assert await desk.taken() == [one, younger], "it is ahead of those that came after it"
        assert desk.leases.asked == [["answer"], ["answer", "other"]]


async def test_who_waits_too_long_runs_all_the_same():
    """Without asking again."""
    async with Desk(longest_wait_s=0).open() as desk:
        one = place(0)
        desk.leases.standings["answer"] = LeaseOutcome.FOLLOWER
        await desk.board(one)
        assert desk.take() == []
        assert await desk.taken() == [one]
        assert desk.leases.asked == [["answer"]]


async def test_a_lease_that_nobody_wants_any_more_is_given_back():
    """Its requests were lost while it was asked for."""
    async with Desk().open() as desk:
        one = place(0)
        desk.leases.answering.clear()
        await desk.board(one)
        assert desk.take() == []
        await until(lambda: desk.leases.asked)
        desk.line.remove_if(lambda _: True)
        desk.flights.abandon({ticket_of(one).tracker})
        desk.leases.answering.set()
        await until(lambda: desk.leases.released)
        assert desk.leases.released == ["answer"]


async def test_a_leader_that_left_while_the_lease_was_asked_for_leaves_it_to_the_next():
    """The lease is the flight's: the next leader, on its way to the line, runs without asking again."""
    async with Desk().open() as desk:
        hasty, patient = place(0), place(1)
        desk.leases.answering.clear()
        await desk.board(hasty, patient)
        assert desk.take() == []
        await until(lambda: desk.leases.asked)
        desk.line.remove_if(lambda one: one is hasty)
        desk.flights.failed(ticket_of(hasty))
        desk.leases.answering.set()
        assert await desk.taken() == [patient]
        assert desk.leases.asked == [["answer"]]


async def ask_twice(desk: Desk, first: LeaseOutcome, second: LeaseOutcome) -> QueuedRequest[PreparedRequest]:
    """The leader is gone when it is answered, and the next in its flight has asked meanwhile: that one."""
    hasty, patient = place(0), place(1)
    desk.leases.answering.clear()
    desk.leases.scripts["answer"] = [first, second]
    await desk.board(hasty, patient)
    assert desk.take() == []
    await until(lambda: desk.leases.asked)
    desk.line.remove_if(lambda one: one is hasty)
    desk.flights.failed(ticket_of(hasty))
    await until(lambda: len(desk.line))
    assert desk.take() == []
    desk.leases.answering.set()
    await until(lambda: len(desk.leases.asked) == 2 and not desk.leases.scripts["answer"])
    return patient


async def test_a_flight_that_may_run_is_not_parked_any_more():
    """Of two answers the first counts."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.ALONE, LeaseOutcome.FOLLOWER)
        assert desk.flights.parked == []
        assert await desk.taken() == [patient]


async def test_a_parked_leader_that_gets_the_lease_runs():
    """The other worker has just died: nobody waits for a lease that is this worker's own."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.FOLLOWER, LeaseOutcome.LEADER)
        assert await desk.taken() == [patient]
        assert desk.flights.parked == []
        desk.flights.landed(ticket_of(patient), BODY, BODY)
        assert desk.leases.released == ["answer"]


async def test_a_parked_leader_waits_on_when_nobody_can_tell():
    """One slow answer does not send it off to generate what another worker nearly has."""
    async with Desk().open() as desk:
        patient = await ask_twice(desk, LeaseOutcome.FOLLOWER, LeaseOutcome.ALONE)
        await desk.leases.looked.wait()
        assert [flight.ticket for flight in desk.flights.parked] == [ticket_of(patient)]
        assert not desk.flights.may_run(ticket_of(patient))
