"""Retries wait outside the line, come back in time, and never take more than their share."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.engine.api import FailureKind
from pelton.workers.inference.retries import IDLE_BURST, SHARE, Retries, RetryPolicy
from pelton.workers.requests import Delivery, PreparedRequest
from pelton.workers.sharing.generation import Generation
from tests.unit._support.single_flight import urgent_ones

TOKENS = 10


def place(number: int, attempt: int = 1) -> QueuedRequest[Generation]:
    source = Source("requests", 0, number)
    record = RequestRecord(source, None, b"", [], 0, 0)
    delivery = Delivery(record, read_envelope(source, (), ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.0)
    request = ChatRequest.model_validate({"model": "default", "messages": [{"role": "user", "content": "hi"}]})
    job = PreparedRequest(delivery, request, [], TOKENS)
    generation = Generation(None, job, attempt=attempt)
    generation.add(job)
    return QueuedRequest(generation, 0, TOKENS, 0.0)


def numbers(places: list[QueuedRequest[Generation]]) -> list[int]:
    return [one.item.job.delivery.record.source.offset for one in places]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def line() -> RequestQueue[Generation]:
    return RequestQueue(max_tokens=1_000, max_requests=20)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def retries(line, clock) -> Retries:
    return Retries(line, RetryPolicy(max_attempts=4, backoff_s=1.0), clock)


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(FailureKind))
def test_the_ceiling_counts_attempts_and_the_wait_doubles(most: int, attempt: int, kind: FailureKind) -> None:
    """Only failures that may pass are tried again, at most `max_attempts` times in all, ever later."""
    policy = RetryPolicy(most, 0.5)
    may_pass = kind in (FailureKind.OUT_OF_MEMORY, FailureKind.INTERNAL)
    assert policy.allows(kind, attempt) == (may_pass and attempt < most)
    assert policy.wait_s(1) == 0.5
    assert policy.wait_s(attempt + 1) == 2 * policy.wait_s(attempt)


async def test_a_retry_comes_back_after_its_wait_as_the_next_attempt(retries, clock):
    """Not before, and with what it was."""
    first = place(1, attempt=2)
    retries.add(first)
    clock.now = 1.99
    assert retries.take_due() == []
    clock.now = 2.0
    (again,) = retries.take_due()
    assert again.item.attempt == 3
    assert again.item is first.item
    assert len(retries) == 0


async def test_while_others_wait_retries_get_their_share_and_no_more(retries, line, clock):
    """One retry for each twenty newcomers of its size, the earliest first."""
    await line.put(place(99))
    for number in range(10):
        retries.add(place(number))
    clock.now = 10.0
    went = []
    for newcomer in range(100):
        retries.earn(TOKENS)
        went += [(newcomer, number) for number in numbers(retries.take_due())]
    every = round(1 / SHARE)
    assert went == [(0, 0), (every, 1), (2 * every, 2), (3 * every, 3), (4 * every, 4)]


async def test_a_share_that_nobody_used_is_not_saved_up_for_ever(retries, line, clock):
    """A burst of retries after a quiet day takes no more than the share of one full line."""
    await line.put(place(99))
    for _ in range(10_000):
        retries.earn(TOKENS)
    for number in range(line.max_requests):
        retries.add(place(number))
    clock.now = 10.0
    assert len(retries.take_due()) == SHARE * line.max_tokens / TOKENS


async def test_a_large_retry_goes_too_and_leaves_a_debt(retries, line, clock):
    """A request larger than any credit is not kept waiting for ever; the next one waits for what it took."""
    await line.put(place(99))
    retries.add(replace(place(0), max_new_tokens=800))
    retries.add(place(1))
    clock.now = 10.0
    retries.earn(TOKENS)
    assert numbers(retries.take_due()) == [0]
    for _ in range(round(800 / SHARE / TOKENS) - 1):
        retries.earn(TOKENS)
    assert retries.take_due() == []
    retries.earn(2 * TOKENS)
    assert numbers(retries.take_due()) == [1]


async def test_when_nobody_waits_retries_need_no_share(retries, clock):
    """An idle engine is theirs, a burst at a time."""
    for number in range(IDLE_BURST + 3):
        retries.add(place(number))
    clock.now = 10.0
    assert len(retries.take_due()) == IDLE_BURST
    assert len(retries.take_due()) == 3


async def test_what_is_beyond_the_room_goes_back_at_once(retries, line):
    """No more wait than the line could hold, in requests and in tokens; nobody loses an attempt by it."""
    await line.put(place(99))
    for number in range(line.max_requests + 2):
        retries.add(place(number))
    assert numbers(retries.take_due()) == [0, 1]
    assert len(retries) == line.max_requests


async def test_what_nobody_waits_for_any_more_is_forgotten(retries, clock):
    """Its requests were cancelled, too late, or another worker's: it is not kept until its turn, nor tried again."""
    places = [place(number) for number in range(4)]
    for one in places:
        retries.add(one)
    for one in places[::2]:
        one.item.remove(one.item.job.delivery)
    assert retries.take_due() == []
    assert len(retries) == 2
    clock.now = 10.0
    assert numbers(retries.take_due()) == [1, 3]


async def test_run_fills_the_line_and_ends_with_it():
    """Added on a thread, a retry reaches the line; when the line has closed the task ends by itself."""
    line: RequestQueue[Generation] = RequestQueue(max_tokens=1_000, max_requests=20)
    retries = Retries(line, RetryPolicy(backoff_s=0.0))
    running = asyncio.create_task(retries.run())
    async with asyncio.timeout(10):
        await asyncio.to_thread(retries.add, place(7))
        taken = await asyncio.to_thread(line.take, lambda _: ((0,), None), block=True)
        assert numbers(taken) == [7]
        line.close()
        retries.add(place(8))
        await running


async def test_a_lane_without_room_holds_up_no_retry_of_the_other(retries, line, clock):
    """What of batch is due waits for room; what is due of interactive goes in."""
    await line.put(replace(place(99), max_new_tokens=1_000))
    batch, urgent = place(1), place(2)
    for each in (batch, urgent):
        retries.add(each)
    urgent.item.priority = 1  # somebody who waits has joined it
    for _ in range(100):
        retries.earn(TOKENS)
    clock.now = 10.0
    running = asyncio.create_task(retries.run())
    try:
        (taken,) = await asyncio.wait_for(asyncio.to_thread(line.take, urgent_ones, block=True), 5)
        assert taken.item is urgent.item
        assert line.free_requests(0) == 0
    finally:
        line.close()
        await running
