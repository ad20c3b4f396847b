"""Requests that leave before they are answered: cancelled, too late, or with their partition."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.wire.tenants import TenantPolicy
from pelton.workers.cancellation.cancel_topic import Cancels
from pelton.workers.cancellation.canceller import Canceller
from pelton.workers.cancellation.deadlines import is_too_late
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import PreparedRequest, Result
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import job

LIMIT_S = 5


def named(name: bytes, number: int = 0) -> PreparedRequest:
    return job(number, headers=(("kafka_correlationId", name),))


def due(in_s: float) -> PreparedRequest:
    return job(headers=(("pelton-deadline", str(round((time.time() + in_s) * 1000)).encode()),))


class Scene:
    """Open requests that wait for one generation, and a canceller over them."""

    def __init__(self) -> None:
        self.results: LingerQueue[Result] = LingerQueue(100)
        self.single_flight = SingleFlight(max_waiting=100)
        self.open_requests = OpenRequests(self.results, self.single_flight.leave)
        self.cancels = Cancels(TenantPolicy())
        self.notified = 0
        sessions: Any = SimpleNamespace(give_up=lambda _: [], abandon=lambda _: None)
        queue: Any = SimpleNamespace(notify=self.notify)
        self.canceller = Canceller(self.open_requests, self.cancels, sessions, queue)

    def notify(self) -> None:
        self.notified += 1

    def ask(self, *jobs: PreparedRequest) -> None:
        for one in jobs:
            self.open_requests.add(one.delivery)
            self.single_flight.join(one)

    async def ended(self) -> dict[int, str]:
        """The codes of the next results by the offsets of their requests."""
        async with asyncio.timeout(LIMIT_S):
            async for results in self.results.batches():
                return {result.delivery.record.source.offset: result.error.code for result in results}
        raise AssertionError("closed")


@pytest.fixture
async def scene() -> Scene:
    return Scene()


@pytest.fixture
async def running(scene: Scene) -> AsyncIterator[Scene]:
    task = asyncio.create_task(scene.canceller.run())
    yield scene
    task.cancel()


async def test_a_cancel_ends_the_requests_that_it_covers(scene):
    """Not one that was sent under the same id afterwards; what they waited for goes on for the others."""
    before, other, again = named(b"a"), named(b"b", 1), named(b"a", 2)
    sent_later = replace(again.delivery, record=replace(again.delivery.record, timestamp_ms=5_000))
    after = replace(again, delivery=sent_later)
    scene.ask(before, other, after)
    generation = scene.single_flight.of(other.delivery)
    sender = scene.cancels.note([("kafka_correlationId", b"a")], None, None, 1_000)
    await scene.canceller.cancel([sender])
    assert await scene.ended() == {0: "cancelled"}
    assert list(generation.waiters) == [other.delivery, after.delivery]
    assert scene.notified == 1, "the queue may have something to drop"
    await scene.canceller.cancel([sender])
    assert scene.notified == 1, "once"


async def test_a_deadline_ends_its_request_when_it_passes(running):
    """Neither before nor long after."""
    one, patient = due(0.2), job(1)
    running.ask(one, patient)
    assert await running.ended() == {0: "deadline_exceeded"}
    assert is_too_late(one.delivery)
    assert running.single_flight.of(patient.delivery).wanted


async def test_lost_requests_end_without_a_result(scene):
    """The queue drops what nobody waits for."""
    lost, kept = job(0), job(1)
    scene.ask(lost, kept)
    scene.canceller.abandon({lost.delivery.tracker})
    assert lost.delivery not in scene.open_requests
    assert scene.single_flight.of(kept.delivery).first is kept.delivery
    assert scene.notified == 1
