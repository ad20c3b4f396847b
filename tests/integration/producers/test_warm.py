"""Warming the cache: a file goes through the workers, and what is kept of it is a count."""

import asyncio

import orjson
import pytest
from typer.testing import CliRunner

from pelton.cli import app
from pelton.commands.common import Exit
from pelton.producers.batch.cache_warming import NOT_CACHED, warm
from pelton.producers.errors import BatchError, NoProgress


def batch_line(number, **changes):
    body = {"model": "default", "messages": [{"role": "user", "content": f"question {number}"}]}
    line = {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return orjson.dumps({**line, **changes}) + b"\n"


@pytest.fixture
def source(tmp_path):
    """Six requests, of which the worker refuses one, and two lines that are none."""
    path = tmp_path / "questions.jsonl"
    lines = [batch_line(number) for number in range(6)]
    path.write_bytes(b"".join([*lines, b"no JSON\n", b"\n", batch_line(6, url="/v1/other")]))
    return path


def _number(record):
    return int(orjson.loads(record.value)["messages"][0]["content"].removeprefix("question "))


@pytest.fixture
async def worker(stand_in, answer_with):
    """Has some answers, generates others, fails one, and keeps one to itself."""
    error = orjson.dumps({"error": {"message": "no", "type": "t", "param": None, "code": "model_not_found"}})
    outcomes = {0: b"hit-remote", 1: b"miss", 2: b"miss", 3: b"joined"}
    async with stand_in(lambda record: [error] if _number(record) == 5 else answer_with.echo(record)) as running:
        running.outcome = lambda record: outcomes.get(_number(record))
        yield running


async def test_replies_are_counted_by_outcome(kafka, source, worker):
    """Answers by where they came from, failures by code; each line once, as the tenant that was asked for."""
    seen = []
    tally = await warm(kafka, source, tenant="acme", max_in_flight=2, timeout_s=60, on_progress=seen.append)
    assert tally.requests == 8
    assert tally.outcomes == {"miss": 2, "hit-remote": 1, "joined": 1, NOT_CACHED: 1}
    assert tally.failures == {"model_not_found": 1, "invalid_json_line": 1, "invalid_url": 1}
    assert sorted(map(_number, worker.seen)) == list(range(6))
    assert {dict(record.headers)["pelton-tenant"] for record in worker.seen} == {b"acme"}
    last = seen[-1]
    assert (last.requests, last.in_flight) == (8, 0)
    assert all(progress.in_flight <= 2 for progress in seen)


async def test_the_command(kafka, source, worker):  # noqa: ARG001  # it answers
    """Prints the counts; failures make its exit code."""
    environment = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
    }
    command = ["cache", "warm", str(source), "--timeout", "20"]
    told = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
    assert told.exit_code == Exit.FAILED
    assert told.stdout.startswith("8 requests: 2 miss, ")
    assert "1 failed (model_not_found)" in told.stdout
    told = await asyncio.to_thread(CliRunner().invoke, app, [*command, "--json"], env=environment)
    assert orjson.loads(told.stdout)["outcomes"]["miss"] == 2


async def test_nobody_answers(kafka, source):
    """It gives up, and says what may be wrong."""
    with pytest.raises(NoProgress, match="is a worker running"):
        await warm(kafka, source, tenant=None, max_in_flight=10, timeout_s=0.5)


async def test_no_such_file(kafka, tmp_path):
    """Before anything is sent."""
    with pytest.raises(BatchError, match="cannot be read"):
        await warm(kafka, tmp_path / "none", tenant=None, max_in_flight=10, timeout_s=5)
