"""Dead letters on a terminal, and as JSON.

What a letter says was written by whoever sent the request: on the terminal nothing of it may act, only be read.
"""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pelton.pipeline.outside_text import escaped
from pelton.pipeline.wire import contract
from pelton.producers.dead_letters.letters import (
    INTEGER_BYTES,
    ORIGINAL_OFFSET,
    ORIGINAL_PARTITION,
    ORIGINAL_TIMESTAMP,
    DeadLetter,
    Replayed,
)

Row = list[Text]

TABLE_WIDTH = 110
"""Columns that a table needs so that a message has some for itself."""
_COLUMNS = ("place", "when", "code", "message", "origin", "attempts", "replayed")
_INDENT = (0, 0, 0, 2)
MAX_LISTED_CHARS = 2_000
"""Of a message in a list; a worker's own are half as long."""

_INTEGERS = {ORIGINAL_PARTITION, ORIGINAL_OFFSET, ORIGINAL_TIMESTAMP, contract.REPLY_PARTITION}
"""Headers that Spring writes as big-endian integers."""


def harmless(text: str) -> Text:
    """Control characters become visible, and nothing is markup."""
    return Text(escaped(text, lines=True))


def listing(topic: str, rows: Sequence[Row], width: int) -> RenderableType:
    """Letters of `topic`, a `row` each; times are local. At any width place, code and message are there, whole."""
    title = f"Dead letters of {topic}"
    return _table(title, rows) if width >= TABLE_WIDTH else _blocks(title, rows)


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, expand=True)
    for name in _COLUMNS:
        if name == "message":
            table.add_column(name, overflow="fold", ratio=1)
        else:
            table.add_column(name, no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table


def _blocks(title: str, rows: Sequence[Row]) -> Group:
    """For a narrow terminal: place, time and code in a line, the rest folded below."""
    lines: list[RenderableType] = [harmless(title)]
    for place, when, code, message, origin, attempts, replayed in rows:
        facts = Text.assemble(
            "origin ", origin, ", attempts ", attempts if attempts.plain else "?", ", replayed ", replayed
        )
        lines += [
            Text("  ").join((place, when, code)),
            Padding(Text(message.plain, overflow="fold"), _INDENT),
            Padding(facts, _INDENT),
        ]
    return Group(*lines)


def row(letter: DeadLetter, replayed: Replayed | None) -> Row:
    again = "cannot be" if letter.truncated else "no"
    cells = (
        str(letter.place),
        _time(letter.timestamp_ms, "%m-%d %H:%M:%S"),
        letter.code or "?",
        " ".join(letter.message[:MAX_LISTED_CHARS].split()),
        f"{letter.origin.partition}:{letter.origin.offset}" if letter.origin else "?",
        str(letter.attempts or ""),
        _time(replayed.timestamp_ms, "%m-%d %H:%M:%S") if replayed else again,
    )
    return [harmless(cell) for cell in cells]


def details(letter: DeadLetter, replayed: Replayed | None) -> RenderableType:
    """All there is to a letter but its body: what happened, and every header."""
    sent = "" if letter.origin_timestamp_ms is None else f", {_time(letter.origin_timestamp_ms)}"
    facts = [
        ("place", str(letter.place)),
        ("when", _time(letter.timestamp_ms)),
        ("code", letter.code or "?"),
        ("message", letter.message),
        ("origin", f"{letter.origin or '?'}{sent}"),
        ("attempts", str(letter.attempts or "?")),
        ("replayed", f"{_time(replayed.timestamp_ms)}, as {replayed.request or '?'}" if replayed else "no"),
        ("key", _printed(_plain(letter.key))),
    ]
    if letter.truncated:
        facts.append(("truncated", "the topic had no room for the request: its key, headers and body are lost"))
    headers = [(name, _printed(_header(name, value))) for name, value in letter.headers]
    return Group(_grid(facts), Text("\nheaders"), _grid(headers), Text("\nbody"))


def body(letter: DeadLetter) -> Text:
    """Indented where it is JSON; some bodies are here because they are not."""
    try:
        text = orjson.dumps(orjson.loads(letter.value or b""), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        text = _printed(_plain(letter.value))
    return harmless(text)


def as_json(letter: DeadLetter, replayed: Replayed | None, *, whole: bool) -> bytes:
    """One line; bytes are a string where they are UTF-8, else `{"base64": ...}`. `whole` adds key, headers, value."""
    origin = letter.origin
    fields: dict[str, Any] = {
        "place": str(letter.place),
        "timestamp_ms": letter.timestamp_ms,
        "code": letter.code,
        "message": letter.message,
        "origin": origin and {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset},
        "origin_timestamp_ms": letter.origin_timestamp_ms,
        "attempts": letter.attempts,
        "correlation_id": _plain(letter.correlation_id),
        "tenant": letter.tenant,
        "truncated": letter.truncated,
        "replayed": replayed and {"timestamp_ms": replayed.timestamp_ms, "request": replayed.request},
    }
    if whole:
        fields["key"] = _plain(letter.key)
        fields["headers"] = [[name, _header(name, value)] for name, value in letter.headers]
        fields["value"] = _plain(letter.value)
    return orjson.dumps(fields)


def _header(name: str, value: bytes | None) -> int | str | dict[str, str] | None:
    if value is not None and name in _INTEGERS and len(value) in INTEGER_BYTES:
        return int.from_bytes(value, "big", signed=True)
    return _plain(value)


def _plain(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _printed(value: float | str | dict[str, str] | None) -> str:
    if isinstance(value, dict):
        return f"{value['base64']} (base64)"
    return "none" if value is None else str(value)


def _grid(pairs: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, text in pairs:
        grid.add_row(harmless(f"  {name}"), harmless(text))
    return grid


def _time(timestamp_ms: int, form: str = "%Y-%m-%d %H:%M:%S%z") -> str:
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):  # a header of other software's may hold anything
        return str(timestamp_ms)
