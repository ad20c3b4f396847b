"""What comes from outside reaches no log and no terminal raw: one place sees to each, for every line."""

import io
import logging
import sys
from typing import Any

import orjson
import pytest
import typer
from rich.console import Console

from pelton.commands import common
from pelton.commands.common import Exit, fail, say
from pelton.demo.results import BatchStats, DemoResult, Exchange
from pelton.logs import FORMAT, MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS, JsonFormatter, SafeFormatter

HOSTILE = "\x1b]52;c;Zm9v\x07 \x9b2J\r \u202e"
FORGED = "x\n2026-01-01 00:00:00,000 CRITICAL pelton: all is lost"


def logged(*arguments: Any, **options: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter(FORMAT))
    logger = logging.Logger("workers.test")  # noqa: LOG001  # of this test's own, with no handlers but this one
    logger.addHandler(handler)
    logger.warning(*arguments, **options)
    return stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_line_is_one_line_that_does_nothing() -> None:
    line = logged("ignoring %s and %s", HOSTILE, FORGED)
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()


def test_a_log_line_is_no_longer_than_a_reader_reads() -> None:
    assert len(logged("%s", "\x00" * 4_000_000)) < 5 * MAX_MESSAGE_CHARS


def test_a_traceback_cannot_pass_for_an_event() -> None:
    """The error's own lines are indented like all of it, and of a long one the end is kept."""
    text = logged("failed", exc_info=ValueError(HOSTILE + FORGED))
    first, *others = text.splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("  ") and line.isprintable() for line in others)
    text = logged("failed", exc_info=ValueError("x" * 1_000_000 + "the end"))
    assert len(text) < 2 * MAX_TRACEBACK_CHARS
    assert text.rstrip().endswith("the end")


def test_an_answer_acts_on_no_terminal_and_reaches_a_file_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    say(f"Two\nlines {HOSTILE}")
    monkeypatch.setattr(sys, "stdout", file)
    say(f"Two\nlines {HOSTILE}".encode())
    assert terminal.getvalue() == "Two\nlines \\x1b]52;c;Zm9v\\x07 \\x9b2J\\r \\u202e\n"
    assert file.getvalue() == f"Two\nlines {HOSTILE}\n"


def test_an_error_acts_on_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker, a broker or a file says may be quoted in it; and brackets are no markup."""
    terminal = Terminal()
    monkeypatch.setattr(common, "stderr", Console(file=terminal, force_terminal=False))
    with pytest.raises(typer.Exit):
        fail(f"[red]{HOSTILE}", Exit.FAILED)
    assert terminal.getvalue() == "pelton: [red]\\x1b]52;c;Zm9v\\x07 \\x9b2J\\r \\u202e\n"


def test_the_demo_shows_answers_as_text() -> None:
    """A model may say anything."""
    exchange = Exchange("[b]q", "gold", f"[link=x]{HOSTILE}", None, 1.0, 1, 1)
    screen = Terminal()
    Console(file=screen, width=200, force_terminal=False).print(
        DemoResult("m", [exchange], 1.0, BatchStats(1, 1)).as_text()
    )
    assert r"[link=x]\x1b]52;c;Zm9v\x07 \x9b2J \u202e" in screen.getvalue()
    assert "[b]q" in screen.getvalue()


def test_the_error_that_ends_a_command_is_a_line_of_a_json_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the one as JSON cannot read anything else; the exit code stays."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with pytest.raises(typer.Exit) as ended:
        fail(f"worker.replicas: {HOSTILE}", Exit.UNUSABLE)
    assert ended.value.exit_code == Exit.UNUSABLE
    [line] = stream.getvalue().splitlines()
    assert (orjson.loads(line)["level"], "worker.replicas" in orjson.loads(line)["message"]) == ("critical", True)
