"""Single-flight between workers: before a flight's leader runs, its worker must hold the lease on the answer.

The engine never waits for Redis: a leader that would run now is asked for, together with others, and stays in the line
until it may. Where another worker holds the lease the leader leaves the line, so that waiting costs no token budget,
until the answer is found or nobody generates it any more.
"""

import asyncio
import time
from collections.abc import Sequence

from pelton.cache.replies.leases import LeaseOutcome, Leases
from pelton.cache.replies.values import Found
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import Delivery, PreparedRequest, Result
from pelton.workers.sharing.flight import Generation
from pelton.workers.sharing.single_flight import SingleFlight

LOOK_S = 0.025
"""How often the answers are looked for that other workers generate: all in one round trip."""


class LeaseGate:
    """Lives on the event loop; `of` is for the inference thread."""

    def __init__(
        self,
        flights: SingleFlight,
        leases: Leases,
        line: RequestQueue[PreparedRequest],
        endings: LingerQueue[Result],
        longest_wait_s: float,
    ) -> None:
        self._flights = flights
        self._leases = leases
        self._line = line
        self._endings = endings
        self._longest_wait_s = longest_wait_s
        self._asked: set[Delivery] = set()
        self._wanted: asyncio.Queue[list[Delivery]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def of(self, places: Sequence[QueuedRequest[PreparedRequest]], chosen: Sequence[int]) -> Sequence[int]:
        """Those of the chosen that may run; the others are asked for, and the line is poked when they may."""
        held = {index for index in chosen if not self._flights.may_run(places[index].item.ticket)}
        if not held:
            return chosen
        wanted = [ticket for index in held if (ticket := places[index].item.ticket) not in self._asked]
        if wanted:
            self._asked.update(wanted)
            self._loop.call_soon_threadsafe(self._wanted.put_nowait, wanted)
        return [index for index in chosen if index not in held]

    async def run(self) -> None:
        """Ask and look for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask())
            tasks.create_task(self._look())
            tasks.create_task(self._return())

    async def _ask(self) -> None:
        """Ask for leases: for all that were wanted while the last answer was awaited, in one round trip."""
        while True:
            tickets = await self._wanted.get()
            while not self._wanted.empty():
                tickets += self._wanted.get_nowait()
            keys = [flight.key for ticket in tickets if (flight := self._flights.led_by(ticket)) is not None]
            standings = await self._leases.acquire(keys) if keys else {}
            self._asked.difference_update(tickets)
            endings: list[Result] = []
            for key, standing in standings.items():
                flight = self._flights.get(key)
                if flight is not None:
                    endings += self._apply(flight, standing)
                elif standing is LeaseOutcome.LEADER:  # all who wanted the answer are gone
                    self._leases.release(key)
            self._line.notify()
            await self._endings.put_all(endings)

    def _apply(self, flight: Generation, standing: LeaseOutcome | Found) -> list[Result]:
        if standing is LeaseOutcome.LEADER or (standing is LeaseOutcome.ALONE and not flight.parked):
            self._flights.clear(flight, leased=standing is LeaseOutcome.LEADER)
            if flight.parked:  # by the answer to an earlier question: nobody else generates any more
                self._flights.unpark(flight, alone=False)
        # A leader that is not in the line is on its way there, and asks again when it is its turn.
        elif not flight.cleared and self._line.remove_if(lambda place: place is flight.leader):
            if isinstance(standing, Found):
                return self._flights.found(flight, standing.value, CacheOutcome(standing.tier))
            self._flights.park(flight, time.monotonic())
        return []

    async def _look(self) -> None:
        """Look for the answers that other workers generate: for all in one round trip."""
        while True:
            await self._flights.any_parked.wait()
            await asyncio.sleep(LOOK_S)
            seen = await self._leases.look([flight.key for flight in self._flights.parked])
            now = time.monotonic()
            endings: list[Result] = []
            for flight in self._flights.parked:
                state = seen.get(flight.key, True)  # parked since the look
                if isinstance(state, Found):
                    endings += self._flights.found(flight, state.value, CacheOutcome.JOINED)
                elif now - (flight.waits_since or now) >= self._longest_wait_s:
                    self._flights.unpark(flight, alone=True)
                elif not state:
                    self._flights.unpark(flight, alone=False)
            await self._endings.put_all(endings)

    async def _return(self) -> None:
        """Let leaders into the line again, ahead of those that came after them."""
        while True:
            place = await self._flights.next_returning()
            await self._line.put(place, first=True)
