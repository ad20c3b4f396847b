"""A failure at any station of a request's way ends that request alone, with its error reply and dead letter."""

import inspect
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pelton.pipeline.wire import contract
from pelton.workers.delivery import reply_builder, transactions
from pelton.workers.engine.simulated.text import decode_tokens
from pelton.workers.intake import poller
from pelton.workers.prepare import prepare
from pelton.workers.prepare.tokenizer import SimulatedCodec

BAD = "the one that fails"
BAD_ID = "id-of-the-bad-one"
GOOD = 12


class Sabotaged(Exception):
    """What no part of the worker foresees."""


def is_bad(*values: Any) -> bool:
    """Whether anything of the bad request is in what a station was given."""
    told = repr(values)
    if "internal_error" in told or "InternalError" in told:  # its error, on the way out
        return False
    return (
        BAD in told
        or BAD_ID in told
        or any(
            BAD in decode_tokens(list(getattr(value, "prompt", value)))
            for value in values
            if isinstance(getattr(value, "prompt", value), list)
            and all(isinstance(token, int) for token in getattr(value, "prompt", value))
        )
    )


def failing(original: Callable[..., Any]) -> Callable[..., Any]:
    """The station as it is, but for the bad request."""

    def station(*args: Any, **options: Any) -> Any:
        if is_bad(*args, *options.values()):
            raise Sabotaged("here")
        return original(*args, **options)

    async def waiting_station(*args: Any, **options: Any) -> Any:
        return await station(*args, **options)

    return waiting_station if inspect.iscoroutinefunction(original) else station


def inside(target: Any, name: str) -> Callable[[Any, pytest.MonkeyPatch], None]:
    return lambda _, patch: patch.setattr(target, name, failing(getattr(target, name)))


def of_codec(name: str) -> Callable[[Any, pytest.MonkeyPatch], None]:
    return lambda _, patch: patch.setattr(SimulatedCodec, name, failing(getattr(SimulatedCodec, name)))


def of_worker(path: str) -> Callable[[Any, pytest.MonkeyPatch], None]:
    """A method of a part of the worker that is made already."""

    def sabotage(worker: Any, patch: pytest.MonkeyPatch) -> None:
        *parts, name = path.split(".")
        target = worker
        for part in parts:
            target = getattr(target, part)
        patch.setattr(target, name, failing(getattr(target, name)))

    return sabotage


STATIONS: dict[str, Callable[[Any, pytest.MonkeyPatch], None]] = {
    "envelope": inside(poller, "read_envelope"),
    "address": of_worker("parts.admission._addresses.resolved"),
    "admit": of_worker("parts.admission._cancels.covers"),
    "decode": inside(prepare, "decode_request"),
    "render": of_codec("render"),
    "tokenise": of_codec("encode"),
    "board": of_worker("parts.sharing.flights.join"),
    "select": of_worker("parts.inference._engine.select"),
    "start": of_worker("parts.inference._engine.add"),
    "decode tokens": inside(reply_builder, "answer_body"),
    "reply": inside(reply_builder, "answer_record"),
    "publish": inside(transactions, "_send"),
}
HARMLESS: dict[str, Callable[[Any, pytest.MonkeyPatch], None]] = {
    "count": of_worker("parts.assignment._publisher_of._counts._note"),
    "keep": of_worker("parts.sharing.recall.keep"),
}


def headers(name: str, session: str | None) -> list[tuple[str, bytes]]:
    found = [("kafka_correlationId", name.encode())]
    return [*found, (contract.SESSION, session.encode())] if session else found


async def send_all(client: Any, at: Any, chat_body: Any, sessions: bool) -> None:
    for index in range(GOOD + 1):
        text = BAD if index == GOOD // 2 else f"good {index}"
        name = BAD_ID if text == BAD else str(index)
        session = f"session-{at.requests}-{index}" if sessions else None
        key = {"key": session.encode()} if session else {}
        await client.send_keyed(at.requests, chat_body(text), headers(name, session), **key)


async def replies_of(client: Any, at: Any) -> dict[bytes, str | None]:
    found = await client.read(at.replies, GOOD + 1, 30)
    return {dict(r.headers)["kafka_correlationId"]: orjson.loads(r.value).get("error", {}).get("code") for r in found}


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
@pytest.mark.parametrize("station", STATIONS)
async def test_a_failing_station_ends_one_request_alone(  # noqa: PLR0913  # fixtures
    *, scene, client, chat_body, monkeypatch, station, sessions
):
    """The bad request has its error and dead letter with its bytes, the others their answers, in no more time."""
    async with scene(partitions=1) as it, it.worker() as running:
        STATIONS[station](running.worker, monkeypatch)
        began = time.monotonic()
        await send_all(client, it.at, chat_body, sessions)
        replies = await replies_of(client, it.at)
        took = time.monotonic() - began
    bad = [name for name in replies if replies[name] is not None]
    assert len(replies) == GOOD + 1
    assert [replies[name] for name in bad] == ["internal_error"]
    if station != "envelope":  # whose correlation id nobody knows
        assert bad == [BAD_ID.encode()]
    (letter,) = await client.read_all(it.at.dead_letters)
    assert BAD.encode() in letter.value
    assert took < 5


@pytest.mark.parametrize("station", HARMLESS)
async def test_a_failing_figure_harms_no_delivery(scene, client, chat_body, monkeypatch, station):
    """What is only counted or kept beside the way fails without anybody's loss."""
    async with scene(partitions=1) as it, it.worker() as running:
        HARMLESS[station](running.worker, monkeypatch)
        await send_all(client, it.at, chat_body, sessions=False)
        replies = await replies_of(client, it.at)
    assert set(replies.values()) == {None}
    assert await client.read_all(it.at.dead_letters) == []


@pytest.mark.parametrize("name", ["load", "store"])
async def test_a_failing_session_store_ends_one_request_alone(scene, client, chat_body, monkeypatch, name):
    """Also where histories are read and written for many at once."""
    async with scene(partitions=1) as it, it.worker() as running:
        store = running.worker.parts.session_store
        original = getattr(store, name)

        async def station(items: Any) -> Any:
            if f"session-{it.at.requests}-{GOOD // 2}" in repr(items):
                raise Sabotaged("here")
            return await original(items)

        monkeypatch.setattr(store, name, station)
        await send_all(client, it.at, chat_body, sessions=True)
        replies = await replies_of(client, it.at)
    assert {name: code for name, code in replies.items() if code} == {BAD_ID.encode(): "internal_error"}
