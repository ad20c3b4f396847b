"""On their way into the line the lanes wait each for its own room."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.wire.contract import Lane
from pelton.workers.intake import admission
from pelton.workers.intake.admission import Admission
from pelton.workers.requests import CacheKeys, PreparedRequest
from pelton.workers.schemas.api import NoSchemas
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import ANSWER, URGENT, job, urgent_ones

BATCH, OTHER, PERSON = job(0, CacheKeys()), job(1, CacheKeys()), job(2, CacheKeys(), headers=URGENT)


@dataclass
class Everybody:
    """All that a request meets on its way besides the line and its generation: nothing happens to it there."""

    turns: dict[Lane, list[Any]] = field(default_factory=dict)
    has_rules = False
    """Nothing is shortened or refused under load."""

    async def ready(self, lane: Lane) -> AsyncIterator[Sequence[Any]]:
        """Histories are read one by one."""
        for turn in self.turns.get(lane, []):
            yield [turn]

    def make_drafts(self, opened: Sequence[PreparedRequest]) -> tuple[Sequence[PreparedRequest], list[Any]]:
        return opened, []

    def check(self, _: object) -> None:
        """Nothing is too late."""

    def covers(self, _: object) -> bool:
        return False

    async def look_up(self, drafts: Sequence[PreparedRequest]) -> tuple[list[Any], Sequence[PreparedRequest]]:
        return [], drafts

    def __contains__(self, _: object) -> bool:
        return True

    def opened(self, *_: object) -> None:
        raise AssertionError("no session has a history here")


@dataclass(frozen=True)
class NoQuotas:
    """Everybody goes straight into the line."""

    line: RequestQueue[Generation]

    async def enter(self, generation: Generation) -> None:
        await self.line.put(generation.queued)


@dataclass(frozen=True)
class Draft:
    """What the coordinator gives: a prepared request will do for a rendered one."""

    delivery: Any
    job: PreparedRequest
    conversation: None = None
    shortened_to: None = None


@pytest.fixture
async def line() -> RequestQueue[Generation]:
    return RequestQueue(max_tokens=100, max_requests=1)


def admitting(line: RequestQueue[Generation], monkeypatch: pytest.MonkeyPatch, **turns: Any) -> Admission:
    monkeypatch.setattr(admission, "make_jobs", lambda drafts, *_: ([draft.job for draft in drafts], []))
    monkeypatch.setattr(admission, "make_drafts", lambda deliveries, *_: ([_draft(one) for one in deliveries], []))
    others = cast(
        Any, Everybody({Lane[name]: [Draft(one.delivery, one) for one in some] for name, some in turns.items()})
    )
    return Admission(
        addresses=others, schemas=NoSchemas(), codec=others, limits=others, key_builder=others, reply_cache=others,
        cancels=others, open_requests=others, single_flight=SingleFlight(max_waiting=100), sessions=others,
        session_prompts=others, queue=line, quotas=cast(Any, NoQuotas(line)), early_refusal=others,
        degrading=others,
    )  # fmt: skip


def _draft(delivery: Any) -> Any:
    return Draft(delivery, next(one for one in (BATCH, OTHER, PERSON) if one.delivery is delivery))


async def test_turns_of_sessions_wait_each_for_the_room_of_their_lane(
    line: RequestQueue[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interactive turn goes in while a batch turn before it has no room."""
    running = asyncio.create_task(
        admitting(line, monkeypatch, BATCH=[BATCH, OTHER], INTERACTIVE=[PERSON]).run_sessions()
    )
    try:
        (taken,) = await asyncio.wait_for(asyncio.to_thread(line.take, urgent_ones, block=True), 5)
        assert taken.item.job is PERSON
        assert line.free_requests(Lane.BATCH.priority) == 0
    finally:
        line.close()
        await running


async def test_what_was_fetched_together_waits_each_for_the_room_of_its_lane(
    line: RequestQueue[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header makes a request interactive among those of a batch topic."""
    one = admitting(line, monkeypatch)
    entering = asyncio.create_task(one._generate([_draft(each.delivery) for each in (BATCH, OTHER, PERSON)]))
    try:
        (taken,) = await asyncio.wait_for(asyncio.to_thread(line.take, urgent_ones, block=True), 5)
        assert taken.item.job is PERSON
        assert not entering.done()
    finally:
        line.close()
        await entering


async def test_a_generation_that_somebody_joins_who_waits_goes_with_those(
    line: RequestQueue[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a batch request began it, and it lies in the line already."""
    one = admitting(line, monkeypatch)
    first, joins = job(0, ANSWER), job(1, ANSWER, headers=URGENT)
    for each in (first, joins):
        await one._generate([cast(Any, Draft(each.delivery, each))])
    (queued,) = line.take(lambda places: (range(len(places)), None), block=False)
    assert (queued.item.job, queued.priority) == (first, Lane.INTERACTIVE.priority)
