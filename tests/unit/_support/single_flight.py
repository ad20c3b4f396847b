"""Requests for the tests of single-flight, and where their generations are on their way."""

import asyncio
from collections.abc import Sequence

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import Chosen, QueuedRequest
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import Lane
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.requests import CacheKeys, Delivery, PreparedRequest
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight

REQUEST = ChatRequest.model_validate({"model": "default", "messages": [{"role": "user", "content": "hi"}]})
BODY = b'{"choices":[],"usage":{}}'
VALUE = b'{"id":"1","choices":[],"usage":{}}'
ANSWER = CacheKeys("answer")
URGENT = (("pelton-priority", b"interactive"),)
"""Headers of a request that somebody waits for."""


def delivery(
    number: int = 0, tracker: OffsetTracker | None = None, headers: tuple[tuple[str, bytes], ...] = ()
) -> Delivery:
    """A record, on a partition of its own unless a tracker says otherwise."""
    record = RequestRecord(Source("requests", 0, number), None, b"", headers, 0, 0)
    envelope = read_envelope(record.source, headers, ReplyPolicy("replies"))
    return Delivery(record, envelope, tracker or OffsetTracker(), 0.0, 0.0)


def job(
    number: int = 0,
    keys: CacheKeys = ANSWER,
    tracker: OffsetTracker | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> PreparedRequest:
    """A request on its way to its generation; unless told otherwise all are equal."""
    return PreparedRequest(delivery(number, tracker, headers), REQUEST, [number], 1, keys=keys)


def generation(number: int = 0, keys: CacheKeys = ANSWER) -> Generation:
    """One that a request waits for."""
    one = job(number, keys)
    made = Generation(keys.flight, one)
    made.add(one)
    return made


def queued(number: int = 0, since: float = 0.0) -> QueuedRequest[Generation]:
    return QueuedRequest(generation(number), 1, 1, since)


def urgent_ones(places: Sequence[QueuedRequest[Generation]]) -> Chosen:
    """Those of the interactive lane, as the inference thread takes what it has room for."""
    return [index for index, place in enumerate(places) if place.priority], None


async def returning(single_flight: SingleFlight) -> list[Generation]:
    """All that are on their way to the queue."""
    found = []
    for lane in Lane:
        while True:
            following = asyncio.create_task(single_flight.next_returning(lane.priority))
            await asyncio.sleep(0)
            if not following.done():
                following.cancel()
                break
            found.append(following.result())
    return found
