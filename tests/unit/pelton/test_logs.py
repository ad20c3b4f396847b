"""Lines for people and for machines: whose they are, about which request, and no more of them than can be read."""

import io
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import orjson
import pytest

from pelton.logs import JsonFormatter, Numbered, Repeats, SafeFormatter, configure_logging
from pelton.pipeline.settings.log import LogSettings
from pelton.pipeline.wire.records import Source
from pelton.workers.requests import Delivery
from pelton.workers.supervisor.identity import new_identity, number_in

log = logging.getLogger("pelton.test")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What goes to the handler of `configure_logging`; the test's own handlers are put back."""
    root, ours = logging.getLogger(), logging.getLogger("pelton")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    root.handlers = []
    stream = io.StringIO()
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def configure(stream: io.StringIO, **options: object) -> None:
    configure_logging(**options)  # type: ignore[arg-type]
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)


def delivery(correlation_id: bytes) -> Delivery:
    source = Source("requests", 1, 41)
    record, envelope = SimpleNamespace(source=source), SimpleNamespace(correlation_id=correlation_id)
    return Delivery(record, envelope, None, 0.0, 0.0)  # type: ignore[arg-type]


def test_a_json_line_has_all_that_is_known(written: io.StringIO) -> None:
    """Worker, request and correlation id are fields of their own, and a traceback is one; the line is one line."""
    configure(written, log_format="json", worker=3)
    error = ValueError("two\nlines")
    log.error("about %s\x1b", "x", extra=delivery(b"id-7").log_fields, exc_info=error)
    (line,) = written.getvalue().splitlines()
    found = orjson.loads(line)
    assert found.pop("time").endswith("Z")
    assert "ValueError: two\nlines" in found.pop("error")
    assert found == {
        "level": "error",
        "logger": "pelton.test",
        "message": r"about x\x1b",
        "worker": 3,
        "request": "requests-1-41",
        "correlation_id": "id-7",
    }


def test_a_human_line_has_the_worker_and_the_id(written: io.StringIO) -> None:
    """The id of a request that has none of its own is its place, which the line has already."""
    configure(written, worker=3)
    log.info("one", extra=delivery(b"id-7").log_fields)
    log.info("two", extra=delivery(b"requests-1-41").log_fields)
    log.info("three", extra=delivery(b"\xff\nx" + 400 * b"y").log_fields)
    one, two, three = written.getvalue().splitlines()
    assert one.endswith("INFO    worker 3 pelton.test: one [id-7]")
    assert two.endswith("worker 3 pelton.test: two")
    assert three.isprintable()
    assert len(three) < 300


def test_levels(written: io.StringIO) -> None:
    """Of ours what the setting or `--verbose` says; of libraries one step less."""
    library = logging.getLogger("aiokafka.test")
    for options, expected in (
        ({}, ["i", "W"]),
        ({"verbose": True}, ["d", "i", "I", "W"]),
        ({"settings": LogSettings(level="warning")}, []),
    ):
        configure(written, **options)
        log.debug("d")
        log.info("i")
        library.info("I")
        library.warning("W")
        assert [line[-1] for line in written.getvalue().splitlines()] == expected
        written.seek(written.truncate(0))


def test_repeated_lines_are_counted() -> None:
    """Of one place in the code so many a minute; the first of the next minute says how many there were more."""
    now = 0.0
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter("%(message)s"))
    handler.addFilter(Repeats(2, lambda: now))
    logger = logging.Logger("pelton.test")  # noqa: LOG001  # of this test's own, with no handlers but this one
    logger.addHandler(handler)

    def flood(text: str) -> None:
        logger.warning("flood of %s", text)

    for index in range(5):
        flood(str(index))
    logger.warning("another place")
    now = 61.0
    flood("5")
    assert stream.getvalue().splitlines() == [
        "flood of 0",
        "flood of 1",
        "another place",
        "flood of 5 (and 3 lines from the same place, which were left out)",
    ]


def test_json_of_any_record() -> None:
    """Lines of libraries too, whose records know nothing of workers and requests."""
    record = logging.LogRecord("lib", logging.WARNING, "f.py", 1, "half %s", ("\ud83d",), None)
    assert orjson.loads(JsonFormatter().format(record))["message"] == r"half \ud83d"
    assert Numbered(2).filter(record)
    assert orjson.loads(JsonFormatter().format(record))["worker"] == 2


def test_the_number_is_read_from_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a-7-host")
    assert number_in(new_identity(12)) == 12
