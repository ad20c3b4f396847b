"""Single-flight between workers: before a generation runs, its worker must hold the lease on the answer.

The engine never waits for Redis: the leases of generations that would run now are asked for together, and they stay in
the queue until they may. What another worker generates leaves the queue, so that waiting costs no token budget, until
the answer is found or nobody generates it any more.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from pelton.cache.replies.leases import LeaseOutcome, Leases
from pelton.cache.replies.values import Found
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire.contract import CacheOutcome, Lane
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, Result
from pelton.workers.sharing.generation import Generation, Lease
from pelton.workers.sharing.single_flight import SingleFlight

LOOK_S = 0.025
"""How often the answers are looked for that other workers generate: all in one round trip."""


class Enter(Protocol):
    """Brings a generation into the queue, waiting for room there."""

    async def __call__(self, generation: Generation, *, first: bool) -> None: ...


class LeaseGate:
    """Lives on the event loop; `runnable` is for the inference thread."""

    def __init__(  # noqa: PLR0913  # leases, what they are for, and where that waits
        self,
        single_flight: SingleFlight,
        leases: Leases,
        queue: RequestQueue[Generation],
        open_requests: OpenRequests,
        longest_wait_s: float,
        *,
        enter: Enter | None = None,
    ) -> None:
        """`enter` brings a generation back into the queue, where that is not simply put there."""
        self._single_flight = single_flight
        self._leases = leases
        self._queue = queue
        self._open = open_requests
        self._longest_wait_s = longest_wait_s
        self._enter = enter or self._put
        self._asked: set[Generation] = set()
        self._wanted: asyncio.Queue[list[Generation]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def runnable(self, queued: Sequence[QueuedRequest[Generation]], chosen: Sequence[int]) -> Sequence[int]:
        """Those of the chosen that may run; the others are asked for, and the queue is notified when they may.

        What nobody waits for any more is not asked for: it is to leave the queue, however late it came there.
        """
        held = {index: item for index in chosen if not (item := queued[index].item).may_run and item.wanted}
        if not held:
            return chosen
        wanted = [generation for generation in held.values() if generation not in self._asked]
        if wanted:
            self._asked.update(wanted)
            self._loop.call_soon_threadsafe(self._wanted.put_nowait, wanted)
        return [index for index in chosen if index not in held]

    async def run(self) -> None:
        """Ask and look for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask())
            tasks.create_task(self._look())
            for lane in Lane:
                tasks.create_task(self._return(lane.priority))

    async def _ask(self) -> None:
        """Ask for leases: for all that were wanted while the last answer was awaited, in one round trip."""
        while True:
            generations = await self._wanted.get()
            while not self._wanted.empty():
                generations += self._wanted.get_nowait()
            keys = [each.key for each in generations if each.wanted and each.key is not None]
            outcomes = await self._leases.acquire(keys) if keys else {}
            self._asked.difference_update(generations)
            results: list[Result] = []
            for key, outcome in outcomes.items():
                generation = self._single_flight.get(key)
                if generation is not None:
                    results += self._apply(generation, outcome)
                elif outcome is LeaseOutcome.LEADER:  # all who wanted the answer are gone
                    self._leases.release(key)
            self._queue.notify()
            if results:
                await self._open.end(results)

    def _apply(self, generation: Generation, outcome: LeaseOutcome | Found) -> list[Result]:
        parked = generation.lease is Lease.ELSEWHERE
        if outcome is LeaseOutcome.LEADER:  # where it is parked, by the answer to an earlier question
            self._single_flight.grant(generation, Lease.HELD)
        elif outcome is LeaseOutcome.ALONE and not parked:
            self._single_flight.grant(generation, Lease.NONE)
        # What is not in the queue is on its way there, and asks again when it is its turn.
        elif not generation.may_run and self._queue.remove_if(lambda queued: queued.item is generation):
            if isinstance(outcome, Found):
                return self._found(generation, outcome.value, CacheOutcome(outcome.tier))
            self._single_flight.park(generation, time.monotonic())
        return []

    def _found(self, generation: Generation, body: bytes, outcome: CacheOutcome) -> list[Result]:
        """The answer is there: the results of all who wait, `outcome` for the one that it was to be generated for."""
        job = generation.job
        return [
            CacheHit(job.delivery, job.keys, body, outcome, shortened_to=job.shortened_to, truncation=job.truncation)
            if waiter is job
            else generation.joined(waiter, body)
            for waiter in self._single_flight.finish(generation)
        ]

    async def _look(self) -> None:
        """Look for the answers that other workers generate: for all in one round trip."""
        while True:
            await self._single_flight.wait_for_parked()
            await asyncio.sleep(LOOK_S)
            seen = await self._leases.look([each.key for each in self._single_flight.parked if each.key is not None])
            now = time.monotonic()
            results: list[Result] = []
            for generation in self._single_flight.parked:
                state = seen.get(generation.key or "", True)  # parked since the look
                if isinstance(state, Found):
                    results += self._found(generation, state.value, CacheOutcome.JOINED)
                elif now - (generation.elsewhere_since or now) >= self._longest_wait_s:
                    self._single_flight.grant(generation, Lease.NONE)
                elif not state:
                    self._single_flight.unpark(generation)
            await self._open.end(results)

    async def _return(self, priority: int) -> None:
        """Let generations into the queue again, ahead of those that came after them.

        Each priority by itself: while there is no room for one, the others need not wait.
        """
        while True:
            generation = await self._single_flight.next_returning(priority)
            await self._enter(generation, first=True)

    async def _put(self, generation: Generation, *, first: bool) -> None:
        await self._queue.put(generation.queued, first=first)
