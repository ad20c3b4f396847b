"""The commands over a real broker: what they print, and how they end."""

import asyncio
import functools
import os
import subprocess
import sys

import orjson
import pytest
from typer.testing import CliRunner

from pelton.cli import app
from pelton.pipeline.errors import EngineError, OutOfMemory, RequestTooLarge
from pelton.pipeline.wire.records import OutgoingRecord


@pytest.fixture
def run(graveyard):
    """`await run("list", …)`: the command's result, with its standard output and error."""

    async def invoke(*arguments, stdin=None):
        call = functools.partial(CliRunner().invoke, app, ["dlt", *arguments], env=graveyard.environment, input=stdin)
        return await asyncio.to_thread(call)

    return invoke


@pytest.fixture
async def places(graveyard):
    """Three letters on partition 0: one with a hostile message, one truncated, one of tenant acme."""
    letters = [
        graveyard.letter(0, EngineError("It [red]broke[/red]\x1b[31m\nbadly."), value=b'{"model": "default"}'),
        graveyard.letter(1, RequestTooLarge("Too large.")).fallback,
        graveyard.letter(2, OutOfMemory("No room left."), value=b"\xff", headers=[("pelton-tenant", b"acme")]),
    ]
    return [str(place) for place in await graveyard.bury(*letters, partition=0)]


async def test_list(run, places):
    """A row for each letter; what a sender wrote is shown and does not act on the terminal."""
    listed = await run("list")
    rows = [line.split(maxsplit=4) for line in listed.stdout.splitlines() if line.strip()[:2] == "0:"]
    assert listed.exit_code == 0
    assert [row[0] for row in rows] == places
    assert [row[3] for row in rows] == ["engine_error", "request_too_large", "out_of_memory"]
    assert " ".join(rows[0][4].split()) == r"It [red]broke[/red]\x1b[31m badly. 0:1000 1 no"
    assert " ".join(rows[1][4].split()) == "Too large. 1:1001 1 cannot be"


async def test_list_as_json(run, places, graveyard):
    """One object a line, with what the table leaves out."""
    listed = await run("list", "--json", "--tenant", "acme")
    (line,) = map(orjson.loads, listed.stdout.splitlines())
    assert line.pop("timestamp_ms") > 1_700_000_000_000
    assert line == {
        "place": places[2],
        "code": "out_of_memory",
        "message": "No room left.",
        "origin": {"topic": graveyard.requests, "partition": 2, "offset": 1_002},
        "origin_timestamp_ms": 1_700_000_000_002,
        "attempts": 1,
        "correlation_id": "id-2",
        "tenant": "acme",
        "truncated": False,
        "replayed": None,
    }


UNREADABLE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Latin1(str):
    def encode(self, *_):
        return b"\\xe9tat"

async def main(bootstrap, topic):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, b"{}", headers=[(Latin1("x"), b"")], partition=0)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_record_that_cannot_be_read_is_listed_as_that(run, places, graveyard):
    """Between letters that can: they are listed, before it, behind it and beside it, and so is it, with the cause."""
    program = [sys.executable, "-c", UNREADABLE, graveyard.kafka.bootstrap_servers, graveyard.topic]
    await asyncio.to_thread(subprocess.run, program, env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}, check=True)
    behind = await graveyard.bury(graveyard.letter(3), partition=0)
    beside = await graveyard.bury(graveyard.letter(4), partition=1)
    listed = await run("list", "--json")
    found = {line["place"]: line["code"] for line in map(orjson.loads, listed.stdout.splitlines())}
    assert listed.exit_code == 0
    assert found.keys() == {*places, "0:3", *map(str, (*behind, *beside))}
    assert found["0:3"] == "unreadable_record"
    planned = await run("replay", "--dry-run", "0:3")
    assert (planned.exit_code, "0:3: cannot be replayed" in planned.stderr) == (1, True)


@pytest.mark.usefixtures("places")
async def test_a_forged_note_hides_no_letter_to_come(run, graveyard):
    """A note lies behind its letter, or it is none."""
    note = OutgoingRecord(graveyard.topic, None, b"forged", [("pelton-dlt-replayed", b"0:4")])
    await graveyard.bury(note, partition=0)
    (victim,) = await graveyard.bury(graveyard.letter(3), partition=0)
    assert str(victim) == "0:4"
    listed = await run("list", "--json", str(victim))
    assert orjson.loads(listed.stdout)["replayed"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [0, 1, 2]),
        (("--code", "engine_error", "--code", "out_of_memory"), [0, 2]),
        (("--partition", "1"), [1]),
        (("--since", "1h"), [0, 1, 2]),
        (("--until", "1h"), []),
        (("--since", "2020-01-31", "--until", "2020-02-01T12:00"), []),
        (("--correlation-id", "id-0"), [0]),
        (("--text", "too LARGE"), [1]),
        (("0:2", "0:0", "--code", "engine_error"), [0]),
    ],
)
async def test_selecting(run, places, options, expected):
    """Options narrow the list, and all of them have to fit."""
    listed = await run("list", "--json", *options)
    assert [orjson.loads(line)["place"] for line in listed.stdout.splitlines()] == [places[one] for one in expected]


async def test_show(run, places, graveyard):
    """Spring's integers are numbers, the body is indented; and later, when it was replayed and as what."""
    shown = await run("show", places[0])
    assert shown.exit_code == 0
    assert ["kafka_dlt-original-offset", "1000"] in [line.split() for line in shown.stdout.splitlines()]
    assert '{\n  "model": "default"\n}\n' in shown.stdout
    assert "\x1b" not in shown.stdout
    await run("replay", places[0], "--yes")
    (record,) = await graveyard.replayed()
    shown = await run("show", places[0], "--json")
    letter = orjson.loads(shown.stdout)
    assert letter["replayed"]["request"] == f"{record.topic}-{record.partition}-{record.offset}"
    assert (letter["key"], letter["value"]) == (None, '{"model": "default"}')
    assert ["kafka_dlt-original-partition", 0] in letter["headers"]


async def test_show_what_is_no_text(run, places):
    """Bytes that are no UTF-8 are printed as base64, and a truncated letter says what it lacks."""
    assert "/w== (base64)" in (await run("show", places[2])).stdout
    assert orjson.loads((await run("show", places[2], "--json")).stdout)["value"] == {"base64": "/w=="}
    assert "its key, headers and body are lost" in (await run("show", places[1])).stdout


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("place", ["0:99", "0:9999999999999999999", "5:0"])
async def test_show_nothing(run, place):
    """A place without a letter, or a partition that is not there: exit 2, and where to look."""
    shown = await run("show", place)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert f"No dead letter lies at {place} on topic" in shown.stderr


@pytest.mark.usefixtures("places")
async def test_replay_looked_at_first(run, graveyard):
    """--dry-run says what would be sent, and nothing is. Exit 1: one letter cannot be replayed."""
    planned = await run("replay", "--dry-run")
    assert planned.exit_code == 1
    assert planned.stdout == f"2 dead letters to replay from {graveyard.topic}: 1 engine_error, 1 out_of_memory.\n"
    assert "0:1: cannot be replayed, it was too large for the dead-letter topic" in planned.stderr
    assert await graveyard.replayed() == []


@pytest.mark.usefixtures("places")
async def test_replay_without_a_terminal(run, graveyard):
    """Where nobody can be asked, nothing is sent without --yes: exit 2."""
    refused = await run("replay", stdin="y\n")
    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    assert await graveyard.replayed() == []


async def test_replay_asks(run, places, graveyard, monkeypatch):
    """No sends nothing and ends with 1; yes sends what was shown, and a second run finds it done."""
    monkeypatch.setattr("pelton.commands.dlt.commands._is_terminal", lambda: True)
    no = await run("replay", places[0], places[2], stdin="n\n")
    assert (no.exit_code, await graveyard.replayed()) == (1, [])
    yes = await run("replay", places[0], places[2], stdin="y\n")
    assert (yes.exit_code, len(await graveyard.replayed())) == (0, 2)
    assert f"2 dead letters replayed from {graveyard.topic}: 1 engine_error, 1 out_of_memory." in yes.stdout
    again = await run("replay", places[0], places[2])
    assert (again.exit_code, len(await graveyard.replayed())) == (0, 2)
    assert "2 were replayed before; --again sends them once more." in again.stderr
    once_more = await run("replay", places[0], places[2], "--again", "--yes")
    assert (once_more.exit_code, len(await graveyard.replayed())) == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list", "--topic", "nowhere-dlt"), "no topic nowhere-dlt"),
        (("replay", "--yes", "--topic", "nowhere"), "not named like a dead-letter topic"),
        (("list", "here"), "a place is written partition:offset, like 3:41, got 'here'"),
        (("list", "--since", "soon"), "'soon' is neither an age (90m, 2h, 3d) nor a time"),
    ],
)
async def test_misuse(run, arguments, told):
    """Exit 2, and the message names what is wrong."""
    ended = await run(*arguments)
    assert ended.exit_code == 2
    assert told in " ".join(ended.stderr.replace("│", " ").split())


async def test_no_kafka(run, graveyard):
    """Exit 2, and what to do."""
    graveyard.environment["PELTON_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    ended = await run("list")
    assert ended.exit_code == 2
    assert "start one with `pelton up`" in ended.stderr
