"""Requests for the tests of flights, and where they are on their way."""

import asyncio

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import QueuedRequest
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.requests import CacheKeys, Delivery, PreparedRequest
from pelton.workers.sharing.single_flight import SingleFlight

REQUEST = ChatRequest.model_validate({"model": "default", "messages": [{"role": "user", "content": "hi"}]})
BODY = b'{"choices":[],"usage":{}}'
VALUE = b'{"id":"1","choices":[],"usage":{}}'
ANSWER = CacheKeys("answer")


def place(
    number: int = 0, keys: CacheKeys = ANSWER, tracker: OffsetTracker | None = None, expires: float | None = None
) -> QueuedRequest[PreparedRequest]:
    """A request on its way to the line; unless told otherwise all are equal, each on a partition of its own."""
    record = RequestRecord(Source("requests", 0, number), None, b"", [], 0, 0)
    envelope = read_envelope(record.source, (), ReplyPolicy("replies"))
    ticket = Delivery(record, envelope, tracker or OffsetTracker(), 0.0, 0.0)
    return QueuedRequest(PreparedRequest(ticket, REQUEST, [number], 1, keys=keys), 1, 1, 0.0, expires)


def ticket_of(one: QueuedRequest[PreparedRequest]) -> Delivery:
    return one.item.ticket


async def returning(flights: SingleFlight) -> list[QueuedRequest[PreparedRequest]]:
    """All that are on their way to the line."""
    found = []
    while True:
        following = asyncio.create_task(flights.next_returning())
        await asyncio.sleep(0)
        if not following.done():
            following.cancel()
            return found
        found.append(following.result())
