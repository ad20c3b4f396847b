"""Single-flight under whatever happens in whatever order, with the table of those who wait and what runs around it."""

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheKeys, Delivery
from pelton.workers.sharing.generation import Generation, Lease
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import job, returning

KEYS = [CacheKeys("a"), CacheKeys("b"), CacheKeys("c", fresh=True), CacheKeys(None, "d"), CacheKeys()]
which = st.integers(0, 50)


class Turbulence(RuleBasedStateMachine):
    """`under_way` are the generations in queue or engine, `ended` says how often each request was told of its end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.released: Counter[str] = Counter()
        self.granted: Counter[str] = Counter()
        self.single_flight, self.table = self.run(self.made())
        self.trackers = [OffsetTracker() for _ in range(3)]
        self.under_way: list[Generation] = []
        self.arrived: list[Delivery] = []
        self.ended: Counter[Delivery] = Counter()
        self.lost: set[Delivery] = set()

    async def made(self) -> tuple[SingleFlight, OpenRequests]:
        single_flight = SingleFlight(max_waiting=1_000, leased=True, release=lambda key: self.released.update([key]))
        return single_flight, OpenRequests(self, single_flight.leave)

    async def put_all(self, items):
        raise AssertionError(f"nothing here ends by the table's own exit: {items}")

    def run(self, work):
        return self.loop.run_until_complete(work)

    def open(self) -> list[Delivery]:
        return [one for one in self.arrived if one in self.table]

    def tell(self, one: Delivery | None) -> None:
        if one is not None:
            assert self.table.remove(one), "whoever is told was open"
            self.ended[one] += 1

    @rule(keys=st.sampled_from(KEYS), tracker=st.integers(0, 2), lane=st.sampled_from(Lane))
    def arrive(self, keys, tracker, lane):
        one = job(len(self.arrived), keys, self.trackers[tracker], ((contract.PRIORITY, lane.encode()),))
        self.arrived.append(one.delivery)
        self.table.add(one.delivery)
        if (generation := self.single_flight.join(one)) is not None:
            self.under_way.append(generation)

    @precondition(lambda self: self.open())
    @rule(which=which)
    def leave(self, which):
        """Cancelled or too late."""
        waiting, before = self.open(), set(self.single_flight._all)
        self.tell(waiting[which % len(waiting)])
        assert self.single_flight._all <= before, "nothing begins anew"
        self.prune()

    @rule(tracker=st.integers(0, 2))
    def lose(self, tracker):
        """A partition goes, and comes back as another."""
        gone, self.trackers[tracker] = self.trackers[tracker], OffsetTracker()
        self.lost |= {one for one in self.open() if one.tracker is gone}
        before = set(self.single_flight._all)
        self.table.abandon({gone})
        assert self.single_flight._all <= before, "nothing begins anew"
        self.prune()

    @precondition(lambda self: self.runnable())
    @rule(which=which)
    def answer(self, which):
        self.finish(self.runnable()[which % len(self.runnable())])

    @precondition(lambda self: self.runnable())
    @rule(which=which, fault=st.booleans())
    def fail(self, which, fault):
        generation = self.runnable()[which % len(self.runnable())]
        self.under_way.remove(generation)
        self.tell(self.single_flight.fail(generation, fault=fault))

    @precondition(lambda self: self.under_way)
    @rule(which=which, lease=st.sampled_from([Lease.HELD, Lease.NONE, Lease.ELSEWHERE]))
    def ask(self, which, lease):
        """The lease of one in the queue is asked for, or it is left to another worker."""
        generation = self.under_way[which % len(self.under_way)]
        if generation.may_run:
            return
        if lease is Lease.ELSEWHERE:
            self.under_way.remove(generation)
            self.single_flight.park(generation, 0.0)
        else:
            self.grant(generation, lease)

    @precondition(lambda self: self.single_flight.parked)
    @rule(which=which, lease=st.sampled_from([Lease.HELD, Lease.NONE, Lease.WANTED]))
    def unpark(self, which, lease):
        self.grant(self.single_flight.parked[which % len(self.single_flight.parked)], lease)

    @rule()
    def come_back(self):
        self.under_way += self.run(returning(self.single_flight))

    @precondition(lambda self: self.single_flight.parked)
    @rule(which=which)
    def find(self, which):
        """Another worker's answer is there."""
        for waiter in self.single_flight.finish(self.single_flight.parked[which % len(self.single_flight.parked)]):
            self.tell(waiter.delivery)

    def runnable(self) -> list[Generation]:
        return [generation for generation in self.under_way if generation.may_run]

    def grant(self, generation: Generation, lease: Lease) -> None:
        self.single_flight.grant(generation, lease)
        if lease is Lease.HELD and generation.key is not None:
            self.granted[generation.key] += 1

    def finish(self, generation: Generation) -> None:
        self.under_way.remove(generation)
        for waiter in self.single_flight.finish(generation):
            self.tell(waiter.delivery)

    def prune(self) -> None:
        """What queue and engine do with what nobody waits for."""
        self.under_way = [generation for generation in self.under_way if generation.wanted]

    @invariant()
    def everybody_waits_for_something(self):
        """For one generation each, which runs, waits for another worker's answer, or is on its way to the queue."""
        waiters = Counter(delivery for generation in self.somewhere() for delivery in generation.waiters)
        assert waiters == Counter(self.open())
        assert all(self.single_flight.of(one) is not None for one in self.open())

    @invariant()
    def one_generation_a_key(self):
        keys = [generation.key for generation in self.somewhere() if generation.key is not None]
        assert len(set(keys)) == len(keys)

    @invariant()
    def who_waits_is_counted(self):
        assert self.single_flight.waiting == len(self.open()) - len(self.under_way)
        for priority in (0, 1):
            waiting = sum(one.envelope.lane.priority == priority for one in self.open())
            in_line = sum(generation.priority == priority for generation in self.under_way)
            assert self.single_flight.room(priority) == 1_000 - waiting + in_line

    @invariant()
    def a_generation_goes_with_the_most_urgent_who_wait(self):
        for generation in self.somewhere():
            assert generation.priority >= max(waiter.envelope.lane.priority for waiter in generation.waiters)

    @invariant()
    def nobody_is_told_twice(self):
        told_or_lost = {one for one in self.arrived if one not in self.table}
        assert all(count == 1 for count in self.ended.values())
        assert told_or_lost == self.ended.keys() | self.lost
        assert not self.ended.keys() & self.lost

    def somewhere(self) -> list[Generation]:
        return [*self.under_way, *self.single_flight.parked, *self.single_flight._returning]

    def teardown(self):
        """Answered to the last, nothing is left behind: no request, no generation, no lease."""
        while generations := self.somewhere():
            for generation in generations:
                if generation.lease is Lease.ELSEWHERE:
                    self.grant(generation, Lease.NONE)
            self.come_back()
            for generation in list(self.under_way):
                self.finish(generation)
        assert (len(self.table), self.single_flight.waiting, self.single_flight._all) == (0, 0, set())
        assert (self.single_flight._by_key, self.single_flight._of) == ({}, {})
        assert (self.table._of_partition, self.table._of_sender) == ({}, {})
        assert self.released == self.granted
        self.loop.close()


TestTurbulence = Turbulence.TestCase
TestTurbulence.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
