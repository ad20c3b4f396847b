"""Single-flight: equal requests wait for one generation, which belongs to none of them.

A generation goes through queue and engine; requests join it and leave it. One that ends by itself (cancelled, too late,
its partition lost) leaves, and the generation goes on for the others. One that nobody waits for any more is dropped
wherever it is. An error is for the request that has waited longest, and the generation is tried again for the rest;
after a second error each of them gets a generation of its own, so that those of a prompt that always fails do not fail
one after the other.

Those who wait are counted by their priority, so that a flood of one takes no room from another. A generation has the
highest priority of those that have waited for it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue

from pelton.workers.requests import Delivery, PreparedRequest
from pelton.workers.sharing.generation import Generation, Lease

MAX_ERRORS = 2
"""Errors after which those who wait for a generation are parted."""


class SingleFlight:
    """All generations of one worker. Lives on the event loop."""

    def __init__(
        self,
        *,
        max_waiting: int,
        leased: bool = False,
        release: Callable[[str], None] = lambda _: None,
    ) -> None:
        """At most `max_waiting` of each priority may wait. Where answers are `leased`, a generation runs once it has
        its lease; `release` gives up that on a key.
        """
        self._max_waiting = max_waiting
        self._leased = leased
        self._release = release
        self._by_key: dict[str, Generation] = {}
        self._of: dict[Delivery, Generation] = {}
        self._waiters: Counter[int] = Counter()
        self._in_line: Counter[int] = Counter()
        self._all: set[Generation] = set()
        self._parked: dict[Generation, None] = {}
        self._returning: dict[Generation, None] = {}
        self._vacated = asyncio.Event()
        self._any_parked = asyncio.Event()
        self._any_returning = asyncio.Event()
        self.left: SimpleQueue[Generation] = SimpleQueue()
        """Generations that lost whoever had waited longest, and perhaps everybody: for the inference thread."""
        self.ended: asyncio.Queue[Generation] = asyncio.Queue()
        """Those that a quota was charged for and that nobody waits for any more."""

    @property
    def waiting(self) -> int:
        """Requests that wait for the generation of another, here or elsewhere, or are on their way to the queue."""
        return self._waiters.total() - self._in_line.total()

    def room(self, priority: int) -> int:
        """How many more requests of a priority may wait; not positive when there is none."""
        return self._max_waiting - self._waiters[priority] + self._in_line[priority]

    @property
    def parked(self) -> list[Generation]:
        """Those whose answer another worker generates."""
        return list(self._parked)

    def get(self, key: str) -> Generation | None:
        return self._by_key.get(key)

    def has(self, key: str | None) -> bool:
        """Whether a request of this key would wait for a generation that is there already."""
        return key is not None and key in self._by_key

    def of(self, delivery: Delivery) -> Generation | None:
        """What a request waits for."""
        return self._of.get(delivery)

    async def wait_for_room(self, priority: int = 0) -> int:
        """Wait until at least one more request of a priority may wait here; return how many may."""
        while (room := self.room(priority)) <= 0:
            self._vacated.clear()
            await self._vacated.wait()
        return room

    async def wait_for_parked(self) -> None:
        """Wait until there are generations whose answer another worker generates."""
        await self._any_parked.wait()

    def join(self, job: PreparedRequest) -> Generation | None:
        """Have a request wait. Returns the generation to put into the queue; None where it is under way already."""
        key = job.keys.flight
        if key is not None and (generation := self._by_key.get(key)):
            self._add(generation, job)
            return None
        needs_lease = self._leased and key is not None and job.keys.answer is not None
        return self._begin(Generation(key, job, Lease.WANTED if needs_lease else Lease.NONE), [job])

    def leave(self, delivery: Delivery) -> None:
        """A request has ended by itself. Does nothing for one that waits for no generation."""
        generation = self._of.get(delivery)
        if generation is None:
            return
        self._remove(delivery)
        had_waited_longest = delivery is generation.first
        generation.remove(delivery)
        if not generation.wanted:
            self._forget(generation)
        if had_waited_longest:
            self.left.put(generation)
        self._vacated.set()

    def finish(self, generation: Generation) -> list[PreparedRequest]:
        """It is answered: those who waited for it until now."""
        waiters = self._part(generation)
        self._forget(generation)
        return waiters

    def fail(self, generation: Generation, *, fault: bool) -> Delivery | None:
        """It came to nothing, by a `fault` or not: whose error that is; None where nobody waits any more."""
        if not generation.wanted:
            return None
        told, *others = self._part(generation)
        errors = generation.errors + fault
        goes_on = bool(others) and errors < MAX_ERRORS and generation.key is not None
        self._forget(generation, keeps_lease=goes_on)
        if goes_on:
            again = Generation(generation.key, others[0], generation.lease, errors, generation.since)
            self._return(self._begin(again, others))
        else:
            for job in others:
                self._return(self._begin(Generation(None, job, since=generation.since), [job]))
        return told.delivery

    def grant(self, generation: Generation, lease: Lease) -> None:
        """Let it run: with the lease, or without one."""
        generation.lease = lease
        if generation in self._parked:
            self._no_longer_parked(generation)
            self._return(generation)

    def park(self, generation: Generation, now: float) -> None:
        """Keep what was taken out of the queue until its answer is there or nobody generates it."""
        generation.leave_to_another(now)
        self._parked[generation] = None
        self._in_line[generation.priority] -= 1
        self._any_parked.set()

    def unpark(self, generation: Generation) -> None:
        """Nobody generates it any more: it asks for the lease again."""
        self.grant(generation, Lease.WANTED)

    async def next_returning(self, priority: int = 0) -> Generation:
        """Wait for a generation of a priority that is to join the queue again."""
        while (generation := next((each for each in self._returning if each.priority == priority), None)) is None:
            self._any_returning.clear()
            await self._any_returning.wait()
        self._no_longer_returning(generation)
        self._vacated.set()
        return generation

    def _begin(self, generation: Generation, jobs: list[PreparedRequest]) -> Generation:
        self._all.add(generation)
        self._in_line[generation.priority] += 1
        if generation.key is not None:
            self._by_key[generation.key] = generation
        for job in jobs:
            self._add(generation, job)
        return generation

    def _add(self, generation: Generation, job: PreparedRequest) -> None:
        before = generation.priority
        generation.add(job)
        self._of[job.delivery] = generation
        self._waiters[job.delivery.envelope.lane.priority] += 1
        if generation.priority == before:
            return
        if generation in self._returning:
            self._any_returning.set()
        elif generation not in self._parked:
            self._in_line[before] -= 1
            self._in_line[generation.priority] += 1
        self._vacated.set()

    def _remove(self, delivery: Delivery) -> None:
        del self._of[delivery]
        self._waiters[delivery.envelope.lane.priority] -= 1

    def _part(self, generation: Generation) -> list[PreparedRequest]:
        waiters = list(generation.waiters.values())
        for job in waiters:
            generation.remove(job.delivery)
            self._remove(job.delivery)
        self._vacated.set()
        return waiters

    def _forget(self, generation: Generation, *, keeps_lease: bool = False) -> None:
        """Nobody waits for it. It may still be in the queue or the engine, where it is dropped when it is met."""
        if generation not in self._all:
            return
        self._all.remove(generation)
        if generation.reserved:
            self.ended.put_nowait(generation)
        if generation in self._parked:
            self._no_longer_parked(generation)
        if generation in self._returning:
            self._no_longer_returning(generation)
        self._in_line[generation.priority] -= 1
        if generation.key is not None:
            del self._by_key[generation.key]
            if generation.lease is Lease.HELD and not keeps_lease:
                self._release(generation.key)

    def _return(self, generation: Generation) -> None:
        self._returning[generation] = None
        self._in_line[generation.priority] -= 1
        self._any_returning.set()

    def _no_longer_returning(self, generation: Generation) -> None:
        del self._returning[generation]
        self._in_line[generation.priority] += 1

    def _no_longer_parked(self, generation: Generation) -> None:
        del self._parked[generation]
        self._in_line[generation.priority] += 1
        if not self._parked:
            self._any_parked.clear()
