"""The remote engine against an endpoint that misbehaves: every request ends right, and concurrency recovers."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from benchmarks.support.mock_endpoint import Behaviour, MockEndpoint
from pelton.pipeline.settings.remote import RemoteSettings
from pelton.stack.ports import free_port
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    Outcome,
    SamplingParams,
)
from pelton.workers.remote.build import remote_engine
from pelton.workers.remote.engine import RemoteEngine
from pelton.workers.remote.tokens import TokenEstimate

LIMIT_S = 20
BUSY = Behaviour(status=429, headers=(("Retry-After", "0.2"),))


def request(number: int, deadline: float | None = None) -> EngineRequest:
    text = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": f"q{number}"}]}).decode()
    return EngineRequest(number, range(9), SamplingParams(16), deadline, text=text)


class Waits:
    """What `select` sees of a request."""

    prompt_tokens = 1
    max_new_tokens = 1
    priority = 0
    since = 0.0


async def outcomes_of(
    engine: RemoteEngine, requests: list[EngineRequest], during: Callable[[], None] = lambda: None
) -> dict[int, Outcome]:
    """Drive the engine as the inference thread does, until all have ended."""

    def drive() -> dict[int, Outcome]:
        waiting, found = list(requests), {}
        until = time.monotonic() + LIMIT_S
        while len(found) < len(requests) and time.monotonic() < until:
            chosen = len(engine.select([Waits()] * len(waiting), time.monotonic()).indexes)
            for each in waiting[:chosen]:
                engine.add(each)
            del waiting[:chosen]
            during()
            found.update({outcome.request_id: outcome for outcome in engine.step()})
        return found

    return await asyncio.to_thread(drive)


@asynccontextmanager
async def engine_for(*endpoints: MockEndpoint | str, **settings: Any) -> AsyncIterator[RemoteEngine]:
    urls = tuple(each if isinstance(each, str) else each.url for each in endpoints)
    engine = await asyncio.to_thread(remote_engine, RemoteSettings(endpoints=urls, **settings), TokenEstimate())
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.close)


def content(outcome: Outcome) -> str:
    assert isinstance(outcome, Completion), outcome
    assert outcome.written is not None
    return str(orjson.loads(outcome.written.body)["choices"][0]["message"]["content"])


def all_right(outcomes: dict[int, Outcome], count: int) -> bool:
    return {number: content(each) for number, each in outcomes.items()} == {n: f"echo: q{n}" for n in range(count)}


async def test_each_gets_the_answer_to_its_own_question() -> None:
    """Many at once, each body as it was rendered, with the key; usage comes along."""
    async with MockEndpoint().serving() as endpoint, engine_for(endpoint, api_key="sk-1") as engine:
        outcomes = await outcomes_of(engine, [request(number) for number in range(100)])
    assert all_right(outcomes, 100)
    assert endpoint.authorizations == {"Bearer sk-1"}
    assert {call["messages"][0]["content"] for call in endpoint.calls} == {f"q{n}" for n in range(100)}
    assert outcomes[0].written.prompt_tokens > 0
    assert engine.running == 0


async def test_concurrency_grows_to_its_bound_and_no_further() -> None:
    """Found by doubling, within a few answers' time."""
    slow = Behaviour(latency_s=0.05)
    async with MockEndpoint(lambda *_: slow).serving() as endpoint, engine_for(endpoint, max_concurrency=32) as engine:
        await outcomes_of(engine, [request(number) for number in range(250)])
    assert endpoint.peak == 32


async def test_a_storm_of_429_costs_time_and_nothing_else() -> None:
    """Nobody is asked before Retry-After is over; no request fails by it, and concurrency is what it was afterwards."""
    asked_at: list[float] = []
    storm = [False]

    def behave(number: int, _body: dict[str, Any]) -> Behaviour:
        asked_at.append(time.monotonic())
        storm[0] = 200 <= number < 260
        return BUSY if storm[0] else Behaviour(latency_s=0.01)

    async with MockEndpoint(behave).serving() as endpoint, engine_for(endpoint, max_concurrency=32) as engine:
        outcomes = await outcomes_of(engine, [request(number) for number in range(1000)])
        recovered = engine._sending.pool.room(time.monotonic())
    assert all_right(outcomes, 1000)
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked_at) if later - sooner > 0.15]
    assert pauses, "Retry-After was not kept"
    assert recovered >= 28


async def test_one_pause_is_kept_by_all() -> None:
    """After the first 429 with Retry-After nothing is sent until it is over."""
    asked_at: list[float] = []

    def behave(number: int, _body: dict[str, Any]) -> Behaviour:
        asked_at.append(time.monotonic())
        return Behaviour(status=503, headers=(("retry-after-ms", "300"),)) if number == 0 else Behaviour()

    async with MockEndpoint(behave).serving() as endpoint, engine_for(endpoint, max_concurrency=1) as engine:
        outcomes = await outcomes_of(engine, [request(number) for number in range(3)])
    assert all_right(outcomes, 3)
    assert asked_at[1] - asked_at[0] >= 0.3


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (Behaviour(status=500), "status 500: As the script says"),
        (Behaviour(status=401), "status 401"),
        (Behaviour(broken_off=True), "broken off"),
        (Behaviour(body=b"<html>hello"), "not JSON"),
        (Behaviour(body=b'{"choices":[]}'), "no choices"),
        (Behaviour(body=b'{"choices":[{"message":{"content":7},"finish_reason":"stop"}]}'), "content"),
        (Behaviour(body=b"x" * 5000), "more than 4,000 bytes"),
        (Behaviour(hangs=True), "not answered within 0.3 s"),
    ],
)
async def test_what_may_pass_is_an_attempt_that_failed(how: Behaviour, says: str) -> None:
    """The worker's retries see to the rest; the next request is not harmed."""
    async with (
        MockEndpoint(lambda number, _: how if number == 0 else Behaviour()).serving() as endpoint,
        engine_for(endpoint, max_concurrency=1, request_timeout_s=0.3, max_answer_bytes=4000) as engine,
    ):
        outcomes = await outcomes_of(engine, [request(number) for number in range(2)])
    failure = outcomes[0]
    assert isinstance(failure, Failure)
    assert (failure.kind, says in failure.message) == (FailureKind.INTERNAL, True), failure
    assert content(outcomes[1]) == "echo: q1"


async def test_the_requests_own_fault_is_refused_with_the_endpoints_words() -> None:
    """No second attempt, and the endpoint is no worse for it."""
    how = Behaviour(status=400, code="context_length_exceeded")
    async with MockEndpoint(lambda *_: how).serving() as endpoint, engine_for(endpoint) as engine:
        outcomes = await outcomes_of(engine, [request(number) for number in range(20)])
    assert {(each.kind, each.code) for each in outcomes.values()} == {(FailureKind.REFUSED, "context_length_exceeded")}
    assert "As the script says" in outcomes[0].message
    assert endpoint.count == 20


async def test_a_cancel_closes_the_call() -> None:
    """Running or waiting for a place, and nobody else is harmed."""
    async with (
        MockEndpoint(lambda _, body: Behaviour(hangs=body["messages"][0]["content"] != "q9")).serving() as endpoint,
        engine_for(endpoint, max_concurrency=1) as engine,
    ):
        engine.add(request(0))
        engine.add(request(1))
        while not endpoint.running:  # noqa: ASYNC110  # the endpoint says it to nobody
            await asyncio.sleep(0.01)
        engine.cancel(1)
        engine.cancel(0)
        engine.cancel(77)
        ended: dict[int, Outcome] = {}
        while engine.running:
            ended |= {each.request_id: each for each in await asyncio.to_thread(engine.step)}
        outcomes = await outcomes_of(engine, [request(9)])
    assert {number: each.kind for number, each in ended.items()} == dict.fromkeys((0, 1), FailureKind.CANCELLED)
    assert content(outcomes[9]) == "echo: q9"
    assert endpoint.hung_up == 1


async def test_a_deadline_ends_the_call() -> None:
    """While it runs, and while it waits for a place."""
    async with (
        MockEndpoint(lambda *_: Behaviour(hangs=True)).serving() as endpoint,
        engine_for(endpoint, max_concurrency=1) as engine,
    ):
        soon = time.monotonic() + 0.2
        outcomes = {}
        for number in range(2):
            engine.add(request(number, soon))
        while engine.running:
            for each in await asyncio.to_thread(engine.step):
                outcomes[each.request_id] = each.kind
    assert outcomes == {0: FailureKind.DEADLINE, 1: FailureKind.DEADLINE}
    assert endpoint.count == 1


async def test_nobody_there_is_waited_for() -> None:
    """Requests fail by it only when their patience ends; one that comes back is used again."""
    port = free_port()
    late = MockEndpoint(port=port)
    async with engine_for(late.url, patience_s=10) as engine:
        asking = asyncio.create_task(outcomes_of(engine, [request(number) for number in range(20)]))
        await asyncio.sleep(0.5)
        async with late.serving():
            assert all_right(await asking, 20)


async def test_patience_ends() -> None:
    """An attempt that failed, and the words say what was in the way."""
    async with engine_for(f"http://127.0.0.1:{free_port()}/v1", patience_s=0.2) as engine:
        outcomes = await outcomes_of(engine, [request(0)])
    assert outcomes[0].kind is FailureKind.INTERNAL
    assert "within 0.2 s" in outcomes[0].message
    assert "No connection" in outcomes[0].message


async def test_several_endpoints_share_and_stand_in_for_each_other() -> None:
    """The slow one gets less, the broken one nothing after a few; every request is answered."""
    fast = MockEndpoint(lambda *_: Behaviour(latency_s=0.01))
    slow = MockEndpoint(lambda *_: Behaviour(latency_s=0.1))
    async with (
        fast.serving(),
        slow.serving(),
        engine_for(fast, slow, f"http://127.0.0.1:{free_port()}/v1", max_concurrency=8) as engine,
    ):
        outcomes = await outcomes_of(engine, [request(number) for number in range(400)])
    assert all_right(outcomes, 400)
    assert fast.count + slow.count == 400
    assert fast.count > 3 * slow.count > 0


async def test_an_endpoint_that_only_fails_is_left_alone() -> None:
    """After some failures in a row it gets no more than trials, while the other answers."""
    broken = MockEndpoint(lambda *_: Behaviour(status=500))
    sound = MockEndpoint(lambda *_: Behaviour(latency_s=0.005))
    async with broken.serving(), sound.serving(), engine_for(broken, sound, max_concurrency=4) as engine:
        outcomes = await outcomes_of(engine, [request(number) for number in range(300)])
    failed = sum(isinstance(each, Failure) for each in outcomes.values())
    assert failed == broken.count <= 20
    assert sound.count == 300 - failed


async def test_text_is_told_as_the_endpoint_streams_it() -> None:
    """To those who listen, and of no other call is a stream asked; one that breaks is an attempt that failed."""
    heard: list[str] = []
    asked = [replace(request(0), on_text=heard.append), request(1), replace(request(2), on_text=lambda _: None)]

    def behave(_number: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(piece_s=0.01, broken_off=body["messages"][0]["content"] == "q2")

    async with MockEndpoint(behave).serving() as endpoint, engine_for(endpoint) as engine:
        outcomes = await outcomes_of(engine, asked)
    assert [content(outcomes[number]) for number in (0, 1)] == ["echo: q0", "echo: q1"]
    assert heard == ["echo", "echo: q0"]
    assert outcomes[0].written.generated_tokens > 0
    assert sorted(bool(call.get("stream")) for call in endpoint.calls) == [False, True, True]
    assert isinstance(outcomes[2], Failure)
    assert outcomes[2].kind is FailureKind.INTERNAL
