"""Flights under whatever happens in whatever order: nobody is stuck, nobody ends twice."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.requests import CacheKeys, Delivery, PreparedRequest
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.flights import BODY, VALUE, place, returning, ticket_of


@given(
    st.lists(
        st.tuples(st.sampled_from(["arrive", "land", "fail", "break", "cancel", "lose"]), st.integers(0, 5)),
        max_size=40,
    )
)
def test_each_request_ends_once(happenings):
    """Whatever happens in whatever order: nobody is stuck, nobody ends twice."""
    asyncio.run(Turbulence().live_through(happenings))


class Turbulence:
    """A line and an engine in one, around the flights."""

    def __init__(self) -> None:
        self.flights = SingleFlight(most_waiting=1_000)
        self.flights.on_unwanted = self.generating_in_vain
        self.open: dict[Delivery, QueuedRequest[PreparedRequest]] = {}
        self.generating: list[QueuedRequest[PreparedRequest]] = []

    async def live_through(self, happenings: list[tuple[str, int]]) -> None:
        for number, (happening, which) in enumerate(happenings):
            if happening == "arrive":
                one = place(number, CacheKeys("ab"[which % 2]))
                self.open[ticket_of(one)] = one
                if self.flights.board(one):
                    self.generating.append(one)
            elif happening == "cancel" and self.open:
                self.cancel(list(self.open.values())[which % len(self.open)])
            elif happening == "lose" and self.open:
                self.lose(list(self.open.values())[which % len(self.open)])
            elif self.generating:
                self.finish(self.generating.pop(which % len(self.generating)), happening)
            self.generating += await returning(self.flights)
            assert self.flights.waiting == len(self.open.keys() - set(map(ticket_of, self.generating)))
        while self.generating:
            self.finish(self.generating.pop(), "land")
            self.generating += await returning(self.flights)
        assert not self.open

    def finish(self, one: QueuedRequest[PreparedRequest], how: str) -> None:
        if not self.flights.disowned(ticket_of(one)):
            del self.open[ticket_of(one)]
        if how != "land":
            self.flights.failed(ticket_of(one), fault=how == "break")
            return
        for ending in self.flights.landed(ticket_of(one), VALUE, BODY):
            del self.open[ending.ticket]

    def cancel(self, one: QueuedRequest[PreparedRequest]) -> None:
        for removed in self.flights.remove_if(lambda other: other is one):
            del self.open[ticket_of(removed)]
        for parted in self.flights.disown(lambda other: other is one):
            del self.open[parted]
        if ticket_of(one) in self.open:  # runs for nobody else
            self.generating.remove(one)
            self.finish(one, "fail")

    def lose(self, one: QueuedRequest[PreparedRequest]) -> None:
        self.generating = [other for other in self.generating if other is not one]
        del self.open[ticket_of(one)]
        self.flights.abandon({ticket_of(one).tracker})

    def generating_in_vain(self, ticket: Delivery) -> None:
        (one,) = (other for other in self.generating if ticket_of(other) is ticket)
        self.generating.remove(one)
        self.finish(one, "fail")
