"""Single-flight: of equal requests that meet in a worker, one is generated and the others wait for its answer.

The first leads its flight through waiting line and engine as any other request; the rest follow. An answer is for all
of them. A missed deadline, a cancel or an error is for the one it happened to: the next in the flight leads then. After
a second error all go on by themselves, so that those of a prompt that always fails do not fail one after the other.
"""

import asyncio
from collections.abc import Callable, Collection

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import QueuedRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, Delivery, PreparedRequest, Result
from pelton.workers.sharing.flight import Generation

MOST_FAULTS = 2
"""Errors after which a flight is broken up."""


class SingleFlight:
    """All flights of one worker. Lives on the event loop; only `may_run` is for any thread."""

    def __init__(
        self,
        *,
        most_waiting: int,
        leased: bool = False,
        release: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Where answers are `leased`, a leader runs once it is cleared; `release` gives up the lease on a key."""
        self._most_waiting = most_waiting
        self._leased = leased
        self._release = release
        self._flights: dict[str, Generation] = {}
        self._leading: dict[Delivery, Generation] = {}
        self._following: dict[Delivery, Generation] = {}
        self._parked: dict[str, Generation] = {}
        self._held: set[Delivery] = set()
        self._vacated = asyncio.Event()
        self._returning: dict[Delivery, QueuedRequest[PreparedRequest]] = {}
        self._any_returning = asyncio.Event()
        self.any_parked = asyncio.Event()
        """Set while there are flights whose answer another worker generates."""
        self.on_unwanted: Callable[[Delivery], None] = lambda _: None
        """Called with a request whose generation nobody waits for any more."""

    @property
    def waiting(self) -> int:
        """Requests that wait for the generation of another, here or elsewhere, or are on their way to the line."""
        return len(self._following) + len(self._parked) + len(self._returning)

    @property
    def room(self) -> int:
        """How many more requests may wait; not positive when there is none."""
        return self._most_waiting - self.waiting

    @property
    def parked(self) -> list[Generation]:
        """Those whose answer another worker generates."""
        return list(self._parked.values())

    def may_run(self, ticket: Delivery) -> bool:
        """False for a leader whose flight is not cleared. Any thread."""
        return ticket not in self._held

    def get(self, key: str) -> Generation | None:
        return self._flights.get(key)

    def led_by(self, ticket: Delivery) -> Generation | None:
        return self._leading.get(ticket)

    def disowned(self, ticket: Delivery) -> bool:
        """Whether a request has had its reply already, and runs on for others."""
        flight = self._leading.get(ticket)
        return flight is not None and flight.disowned

    async def wait_for_room(self) -> int:
        """Wait until at least one more request may wait here; return how many may."""
        while self.room <= 0:
            self._vacated.clear()
            await self._vacated.wait()
        return self.room

    def board(self, place: QueuedRequest[PreparedRequest]) -> bool:
        """Take in a request; True where it is to join the waiting line, False where it waits here for another."""
        ticket, keys = place.item.ticket, place.item.keys
        if (key := keys.flight) is None:
            return True
        if flight := self._flights.get(key):
            flight.followers[ticket] = place
            self._following[ticket] = flight
            return False
        flight = self._flights[key] = Generation(key, place, cleared=not self._leased or keys.answer is None)
        self._lead(flight, place)
        return True

    def landed(self, ticket: Delivery, value: bytes, body: bytes) -> list[Result]:
        """A leader was answered with `value`, which ends with `body`: the endings of its followers."""
        flight = self._leading.get(ticket)
        if flight is None:
            return []
        self._close(flight)
        return flight.joined(body, value)

    def found(self, flight: Generation, body: bytes, outcome: CacheOutcome) -> list[Result]:
        """The answer of a flight whose leader waits for it was found: the endings of all."""
        self._close(flight)
        leader = flight.leader.item
        return [CacheHit(leader.ticket, leader.keys, body, outcome), *flight.joined(body)]

    def failed(self, ticket: Delivery, *, fault: bool = False) -> None:
        """A leader ended without an answer, by a `fault` or not: the next leads. Does nothing for other requests."""
        flight = self._leading.get(ticket)
        if flight is None:
            return
        flight.faults += fault
        if flight.faults < MOST_FAULTS:
            self._replace_leader(flight)
            return
        self._close(flight)
        for place in flight.followers.values():
            self._return(place)

    def clear(self, flight: Generation, *, leased: bool) -> None:
        """Let a flight's leader run."""
        flight.cleared = True
        flight.leased |= leased
        self._held.discard(flight.ticket)

    def park(self, flight: Generation, now: float) -> None:
        """Keep the leader, which was taken out of the line, until its answer is there or nobody generates it."""
        flight.parked = True
        flight.waits_since = flight.waits_since or now
        self._parked[flight.key] = flight
        self.any_parked.set()

    def unpark(self, flight: Generation, *, alone: bool) -> None:
        """Send a parked leader back to the line; `alone`: to run whoever else does."""
        self._no_longer_parked(flight)
        if alone:
            self.clear(flight, leased=False)
        self._return(flight.leader)

    def remove_if(
        self, unwanted: Callable[[QueuedRequest[PreparedRequest]], bool]
    ) -> list[QueuedRequest[PreparedRequest]]:
        """Remove and return what waits here, as when its deadline has passed; the others go on."""
        removed = [
            place
            for flight in list(self._flights.values())
            for place in list(flight.followers.values())
            if unwanted(place)
        ]
        for place in removed:
            self._leave(place.item.ticket)
        for place in [place for place in self._returning.values() if unwanted(place)]:
            removed.append(place)
            del self._returning[place.item.ticket]
            self._vacated.set()
            self.failed(place.item.ticket)
        for flight in self.parked:
            while flight.parked and unwanted(flight.leader):
                removed.append(flight.leader)
                self._replace_leader(flight)
        return removed

    def disown(self, unwanted: Callable[[QueuedRequest[PreparedRequest]], bool]) -> list[Delivery]:
        """Part leaders that may be running from their flights, which go on; those without followers are left alone."""
        parted = [
            flight
            for flight in self._leading.values()
            if flight.followers and flight.cleared and not flight.disowned and unwanted(flight.leader)
        ]
        for flight in parted:
            flight.disowned = True
        return [flight.ticket for flight in parted]

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget the requests of partitions that were lost, leaders included."""
        self.remove_if(lambda place: place.item.ticket.tracker in lost)
        for ticket in [ticket for ticket in self._leading if ticket.tracker in lost]:
            self.failed(ticket)

    async def next_returning(self) -> QueuedRequest[PreparedRequest]:
        """Wait for a request that is to join the line."""
        while not self._returning:
            self._any_returning.clear()
            await self._any_returning.wait()
        place = self._returning.pop(next(iter(self._returning)))
        self._vacated.set()
        return place

    def _lead(self, flight: Generation, place: QueuedRequest[PreparedRequest]) -> None:
        flight.leader = place
        self._leading[place.item.ticket] = flight
        if not flight.cleared:
            self._held.add(place.item.ticket)

    def _replace_leader(self, flight: Generation) -> None:
        self._forget_leader(flight)
        if not flight.followers:
            self._close(flight)
            return
        place = next(iter(flight.followers.values()))
        flight.disowned = False
        self._unfollow(place.item.ticket)
        self._lead(flight, place)
        if not flight.parked:
            self._return(place)

    def _leave(self, ticket: Delivery) -> None:
        flight = self._unfollow(ticket)
        if flight.disowned and not flight.followers:
            self.on_unwanted(flight.ticket)

    def _unfollow(self, ticket: Delivery) -> Generation:
        flight = self._following.pop(ticket)
        del flight.followers[ticket]
        self._vacated.set()
        return flight

    def _close(self, flight: Generation) -> None:
        self._forget_leader(flight)
        for ticket in flight.followers:
            del self._following[ticket]
        del self._flights[flight.key]
        self._no_longer_parked(flight)
        if flight.leased:
            self._release(flight.key)

    def _return(self, place: QueuedRequest[PreparedRequest]) -> None:
        self._returning[place.item.ticket] = place
        self._any_returning.set()

    def _forget_leader(self, flight: Generation) -> None:
        self._leading.pop(flight.ticket, None)
        self._held.discard(flight.ticket)

    def _no_longer_parked(self, flight: Generation) -> None:
        flight.parked = False
        self._parked.pop(flight.key, None)
        if not self._parked:
            self.any_parked.clear()
        self._vacated.set()
