"""`pelton ask` as a process of its own: what it prints where, and its exit codes."""

import asyncio
import os
import sys
import time

import orjson
import pytest

from pelton.pipeline.errors import ModelNotFound


@pytest.fixture
def ask(kafka):
    """Runs the command; returns its exit code, stdout and stderr."""

    async def run(*arguments, stdin=b"", **environment):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "pelton", "ask", *arguments),
            env=os.environ
            | {
                "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
                "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
                **environment,
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin)
        return process.returncode, out.decode(), err.decode()

    return run


def request_of(worker):
    return orjson.loads(worker.seen[-1].value)


async def test_the_answer_is_printed(ask, stand_in):
    """The text alone on stdout, nothing on stderr; the request says what the options said, and until when."""
    async with stand_in() as worker:
        options = ("--system", "Be brief.", "--model", "m", "--max-tokens", "7", "--temperature", "0")
        assert await ask("Why?", *options) == (0, "echo: Why?\n", "")
        assert request_of(worker) == {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
            "max_completion_tokens": 7,
            "temperature": 0,
        }
        assert int(dict(worker.seen[0].headers)["pelton-deadline"]) > time.time() * 1000


async def test_a_question_of_a_session(ask, stand_in):
    """`--session` names the conversation; it is no part of the body."""
    async with stand_in() as worker:
        assert await ask("Why?", "--session", "chat-1") == (0, "echo: Why?\n", "")
        assert (worker.seen[-1].key, dict(worker.seen[-1].headers)["pelton-session"]) == (b"chat-1", b"chat-1")
        assert request_of(worker).keys() == {"model", "messages"}


async def test_from_stdin_to_json(ask, stand_in):
    """`-` reads the question; `--json` prints the whole object. What is not set is not sent."""
    async with stand_in() as worker:
        code, out, _ = await ask("-", "--json", stdin=b"Why?\n")
        assert (code, orjson.loads(out)["usage"]["total_tokens"]) == (0, 5)
        assert request_of(worker) == {"model": "default", "messages": [{"role": "user", "content": "Why?"}]}


async def test_an_error_reply(ask, stand_in):
    """Exit code 1, and the worker's words on one line of stderr."""
    error = orjson.dumps(ModelNotFound("No such model here.").body())
    async with stand_in(lambda _: [error]):
        assert await ask("Why?") == (1, "", "pelton: No such model here.\n")


async def test_no_reply(ask):
    """Exit code 3."""
    code, out, err = await ask("Why?", "--timeout", "0.5")
    assert (code, out) == (3, "")
    assert err.startswith("pelton: No reply within 0.5 s")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PELTON_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1", "Kafka at 127.0.0.1:1 cannot be reached"),
        ("PELTON_KAFKA__REPLY_TOPIC", "no-such-topic", "no topic no-such-topic"),
        ("PELTON_KAFKA__NONSENSE", "1", "kafka.nonsense"),
        ("PELTON_CONFIG", "no-such-file.toml", "no-such-file.toml cannot be read"),
    ],
)
async def test_what_cannot_work(variable, value, told, ask):
    """Exit code 2, no traceback, and what is wrong by name."""
    code, out, err = await ask("Why?", **{variable: value})
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("pelton: ")
    assert "Traceback" not in err


async def test_an_empty_question(ask):
    """Exit code 2, without troubling a worker."""
    assert await ask("-", stdin=b" \n") == (2, "", "pelton: The question is empty.\n")
