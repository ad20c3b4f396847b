"""Logging for the command line: one line an event, on stderr.

What is logged may quote requests, headers and errors from outside: nothing in it begins a line of its own, moves the
cursor, or fills the disk. That is seen to here, for every line, ours and other people's.
"""

import logging
from typing import Any

from pelton.pipeline.outside_text import escaped, shown

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
MAX_MESSAGE_CHARS = 4_000
MAX_TRACEBACK_CHARS = 20_000


class SafeFormatter(logging.Formatter):
    """Messages on one line; tracebacks indented, so that no line of theirs passes for an event."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = shown(record.message, MAX_MESSAGE_CHARS)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  # logging's name
        return _indented(stack_info)


def configure_logging(*, verbose: bool) -> None:
    """Ours at INFO, other people's at WARNING; with `verbose` ours at DEBUG and theirs at INFO."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)
    logging.getLogger("pelton").setLevel(logging.DEBUG if verbose else logging.INFO)


def _indented(text: str) -> str:
    """Of a long one the end, where the error is."""
    kept = text if len(text) <= MAX_TRACEBACK_CHARS else f"…{text[-MAX_TRACEBACK_CHARS:]}"
    return "\n".join(f"  {line}" for line in escaped(kept, lines=True).split("\n"))
