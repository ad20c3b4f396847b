"""Requests for the tests of flights, and where they are on their way."""

import asyncio

from pipeline.headers import ReplyPolicy, read_envelope
from pipeline.messages import ChatRequest
from pipeline.offsets import OffsetTracker
from pipeline.records import RequestRecord, Source
from pipeline.waiting import Place
from workers.flights import Flights
from workers.jobs import Job, Keys, Ticket

REQUEST = ChatRequest.model_validate({"model": "default", "messages": [{"role": "user", "content": "hi"}]})
BODY = b'{"choices":[],"usage":{}}'
VALUE = b'{"id":"1","choices":[],"usage":{}}'
ANSWER = Keys("answer")


def place(
    number: int = 0, keys: Keys = ANSWER, tracker: OffsetTracker | None = None, expires: float | None = None
) -> Place[Job]:
    """A request on its way to the line; unless told otherwise all are equal, each on a partition of its own."""
    record = RequestRecord(Source("requests", 0, number), None, b"", [], 0, 0)
    envelope = read_envelope(record.source, (), ReplyPolicy("replies"))
    ticket = Ticket(record, envelope, tracker or OffsetTracker(), 0.0, 0.0)
    return Place(Job(ticket, REQUEST, [number], 1, keys=keys), 1, 1, 0.0, expires)


def ticket_of(one: Place[Job]) -> Ticket:
    return one.item.ticket


async def returning(flights: Flights) -> list[Place[Job]]:
    """All that are on their way to the line."""
    found = []
    while True:
        following = asyncio.create_task(flights.next_returning())
        await asyncio.sleep(0)
        if not following.done():
            following.cancel()
            return found
        found.append(following.result())
