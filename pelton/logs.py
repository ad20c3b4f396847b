"""Logging for the command line: one line an event, on stderr, for people or as JSON.

What is logged may quote requests, headers and errors from outside: nothing in it begins a line of its own, moves the
cursor, or fills the disk. That is seen to here, for every line, ours and other people's.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from pelton.pipeline.outside_text import escaped, shown
from pelton.pipeline.settings.log import LogFormat, LogSettings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
NUMBERED_FORMAT = "%(asctime)s %(levelname)-7s worker %(worker)s %(name)s: %(message)s"
MAX_MESSAGE_CHARS = 4_000
MAX_TRACEBACK_CHARS = 20_000
MAX_ID_CHARS = 100
REQUEST_FIELDS = ("request", "correlation_id")
"""What lines about a request carry (`Delivery.log_fields`): its place, and its sender's id where it has one."""
_PERIOD_S = 60.0
_LIBRARIES = {"debug": logging.INFO, "info": logging.WARNING, "warning": logging.ERROR}


class SafeFormatter(logging.Formatter):
    """Messages on one line; tracebacks indented, so that no line of theirs passes for an event."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = _message(record)
        if correlation_id := getattr(record, "correlation_id", None):
            record.message += f" [{shown(correlation_id, MAX_ID_CHARS)}]"
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  # logging's name
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; times are UTC. What a line has no value for it does not have."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        time_ = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time_.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **{name: _plain(getattr(record, name, None)) for name in ("worker", *REQUEST_FIELDS)},
            "error": _tail(self.formatException(record.exc_info)) if record.exc_info else None,
        }
        return orjson.dumps({name: value for name, value in fields.items() if value is not None}).decode()


class Repeats(logging.Filter):
    """Lets so many lines of one place in the code pass in a minute; the next one says how many were left out."""

    def __init__(self, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._most or record.levelno <= logging.DEBUG or record.levelno >= logging.CRITICAL:
            return True
        place, now = (record.pathname, record.lineno), self._clock()
        since, count = self._seen.get(place, (now, 0))
        if now >= since + _PERIOD_S:
            record.left_out = max(0, count - int(self._most))
            since, count = now, 0
        self._seen[place] = since, count + 1
        return count < self._most


class Numbered(logging.Filter):
    """Gives each line the number of the worker that writes it."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def configure_logging(
    settings: LogSettings | None = None,
    *,
    verbose: bool = False,
    log_format: LogFormat | None = None,
    worker: int | None = None,
) -> None:
    """As the settings say; `verbose` means level debug, `log_format` goes before theirs, `worker` is in each line."""
    settings = settings or LogSettings()
    level = "debug" if verbose else settings.level
    handler = logging.StreamHandler()
    if (log_format or settings.format) == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(SafeFormatter(FORMAT if worker is None else NUMBERED_FORMAT))
    if worker is not None:
        handler.addFilter(Numbered(worker))
    handler.addFilter(Repeats(settings.max_repeats_per_minute))
    logging.basicConfig(handlers=[handler], level=_LIBRARIES[level], force=True)
    logging.getLogger("pelton").setLevel(level.upper())


def writes_json() -> bool:
    """Whether the log of this process is JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def _message(record: logging.LogRecord) -> str:
    text = shown(record.message, MAX_MESSAGE_CHARS)
    left_out = getattr(record, "left_out", 0)
    return f"{text} (and {left_out:,} lines from the same place, which were left out)" if left_out else text


def _plain(value: object) -> object:
    """Text from outside as it is for those who look for it, with what is no UTF-8 escaped."""
    return shown(value) if isinstance(value, str) else value


def _tail(text: str) -> str:
    """Of a long one the end, where the error is."""
    return escaped(text if len(text) <= MAX_TRACEBACK_CHARS else f"…{text[-MAX_TRACEBACK_CHARS:]}", lines=True)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in _tail(text).split("\n"))
