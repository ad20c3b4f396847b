"""A failure at any station of a request's way ends that request alone, with its error reply and dead letter."""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from pelton.pipeline.wire import bodies, contract
from pelton.workers.delivery import outgoing_batches, reply_builder
from pelton.workers.engine.simulated.text import decode_tokens
from pelton.workers.intake import poller
from pelton.workers.kafka import sieve
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from tests.faulty.engine import Mark

BAD = Mark.FAIL.value
BAD_ID = "id-of-the-bad-one"
GOOD = 12
SLOWER_S = 2.0
"""What a neighbour may wait longer than without the bad one, on a busy machine too."""


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
    "decode": inside(bodies, "decode_request"),
    "look up": of_worker("parts.sharing.reply_cache._look_up"),
    "render": of_codec("render"),
    "tokenise": of_codec("encode"),
    "board": of_worker("parts.sharing.single_flight.join"),
    "select": of_worker("parts.inference._engine.select"),
    "start": of_worker("parts.inference._engine.add"),
    "end": of_worker("parts.inference._end_complete"),
    "decode tokens": inside(reply_builder, "answer_body"),
    "reply": inside(reply_builder, "answer_record"),
    "publish": inside(outgoing_batches._Batch, "takes"),
}
HARMLESS: dict[str, Callable[[Any, pytest.MonkeyPatch], None]] = {
    "count": of_worker("parts.assignment._publisher_of._counts._note_all"),
    "keep": of_worker("parts.sharing.reply_cache.keep"),
}


def headers(name: str, session: str | None) -> list[tuple[str, bytes]]:
    # With a reply partition of its own, so that its address is looked up.
    found = [("kafka_correlationId", name.encode()), (contract.REPLY_PARTITION, bytes(4))]
    return [*found, (contract.SESSION, session.encode())] if session else found


@dataclass(frozen=True, slots=True)
class Told:
    """A reply's error code, and how long after its request it was published, in seconds."""

    code: str | None
    took_s: float


async def round_trip(client: Any, at: Any, chat_body: Any, *, sessions: bool, bad: bool = True) -> dict[bytes, Told]:
    """Send good requests, with the bad one in their midst, and read all replies, by correlation id."""
    sent: dict[bytes, float] = {}
    for index in range(GOOD + 1):
        text = BAD if bad and index == GOOD // 2 else f"good {index}"
        name = BAD_ID if text == BAD else f"{'beside' if bad else 'alone'}-{index}"
        session = f"session-{at.requests}-{name}" if sessions else None
        key = {"key": session.encode()} if session else {}
        sent[name.encode()] = time.time()
        await client.send_keyed(at.requests, chat_body(text), headers(name, session), **key)
    found = await client.read(at.replies, (1 + bad) * len(sent), 30)
    named = {dict(record.headers)["kafka_correlationId"]: record for record in found}
    return {
        name: Told(orjson.loads(record.value).get("error", {}).get("code"), record.timestamp / 1000 - sent.get(name, 0))
        for name, record in named.items()
        if bad is not name.startswith(b"alone")
    }


def slowest_good(told: dict[bytes, Told]) -> float:
    return max(each.took_s for each in told.values() if each.code is None)


def faults(told: dict[bytes, Told]) -> dict[bytes, str]:
    return {name: each.code for name, each in told.items() if each.code is not None}


async def alone_and_beside(
    scene: Any, client: Any, chat_body: Any, sabotage: Callable[[Any], None], *, sessions: bool
) -> tuple[Any, dict[bytes, Told], dict[bytes, Told]]:
    """What becomes of good requests alone, and then of as many beside the bad one."""
    async with scene(partitions=1) as it, it.worker() as running:
        alone = await round_trip(client, it.at, chat_body, sessions=sessions, bad=False)
        sabotage(running.worker)
        beside = await round_trip(client, it.at, chat_body, sessions=sessions)
    assert faults(alone) == {}
    return it.at, alone, beside


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
@pytest.mark.parametrize("station", STATIONS)
async def test_a_failing_station_ends_one_request_alone(  # noqa: PLR0913  # fixtures
    *, scene, client, chat_body, monkeypatch, station, sessions
):
    """The bad request has its error and dead letter with its bytes, the others their answers, in no more time."""
    at, alone, told = await alone_and_beside(
        scene, client, chat_body, lambda worker: STATIONS[station](worker, monkeypatch), sessions=sessions
    )
    ((bad, code),) = faults(told).items()
    assert (len(told), code) == (GOOD + 1, "internal_error")
    assert (bad == BAD_ID.encode()) is (station != "envelope")  # whose correlation id nobody knows
    (letter,) = await client.read_all(at.dead_letters)
    assert BAD.encode() in letter.value
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S


@pytest.mark.usefixtures("faulty_engine")
@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
async def test_a_failing_step_ends_one_request_alone(scene, client, chat_body, sessions):
    """The engine says that it failed; one that raises instead ends its process (`test_engine_faults.py`)."""
    async with scene(partitions=1) as it, it.worker():
        alone = await round_trip(client, it.at, chat_body, sessions=sessions, bad=False)
        told = await round_trip(client, it.at, chat_body, sessions=sessions)
    assert faults(told) == {BAD_ID.encode(): "engine_error"}
    (letter,) = await client.read_all(it.at.dead_letters)
    assert BAD.encode() in letter.value
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
async def test_a_failing_fetch_is_repeated(scene, client, chat_body, sessions):
    """Polls that fail for whatever reason lose nothing and end nothing: also the bad one has its answer."""
    left = [3]

    def sabotage(worker: Any) -> None:
        getmany = worker.parts.broker.consumer.getmany

        async def station(*args: Any, **options: Any) -> Any:
            found = await getmany(*args, **options)
            if left[0] and BAD in repr(found):
                left[0] -= 1
                raise Sabotaged("here")
            return found

        worker.parts.broker.consumer.getmany = station

    _, alone, told = await alone_and_beside(scene, client, chat_body, sabotage, sessions=sessions)
    assert left == [0]
    assert (len(told), faults(told)) == (GOOD + 1, {})
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
async def test_a_failing_parser_ends_one_batch_alone(scene, client, chat_body, monkeypatch, sessions):
    """Its record goes by its place, as nobody knows its id; its bytes are a dead letter."""
    at, alone, told = await alone_and_beside(
        scene, client, chat_body, lambda _: inside(sieve, "crc_holds")(None, monkeypatch), sessions=sessions
    )
    ((bad, code),) = faults(told).items()
    assert (len(told), code) == (GOOD + 1, "unreadable_record")
    assert bad.startswith(at.requests.encode())
    (letter,) = await client.read_all(at.dead_letters)
    assert BAD.encode() in letter.value
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "session"])
@pytest.mark.parametrize("station", HARMLESS)
async def test_a_failing_figure_harms_no_delivery(  # noqa: PLR0913  # fixtures
    *, scene, client, chat_body, monkeypatch, station, sessions
):
    """What is only counted or kept beside the way fails without anybody's loss."""
    at, alone, told = await alone_and_beside(
        scene, client, chat_body, lambda worker: HARMLESS[station](worker, monkeypatch), sessions=sessions
    )
    assert (len(told), faults(told)) == (GOOD + 1, {})
    assert await client.read_all(at.dead_letters) == []
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S


@pytest.mark.parametrize("name", ["load", "store"])
async def test_a_failing_session_store_ends_one_request_alone(scene, client, chat_body, monkeypatch, name):
    """Also where histories are read and written for many at once."""
    async with scene(partitions=1) as it, it.worker() as running:
        store = running.worker.parts.session_store
        original = getattr(store, name)

        async def station(items: Any) -> Any:
            if f"session-{it.at.requests}-{BAD_ID}" in repr(items):
                raise Sabotaged("here")
            return await original(items)

        monkeypatch.setattr(store, name, station)
        alone = await round_trip(client, it.at, chat_body, sessions=True, bad=False)
        told = await round_trip(client, it.at, chat_body, sessions=True)
    assert faults(told) == {BAD_ID.encode(): "internal_error"}
    assert slowest_good(told) < slowest_good(alone) + SLOWER_S
