"""What a batch must come to, whatever became of the server that worked on it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.serve_chaos.points import Point

BAD_EVERY = 50
"""Each so-manyth line asks for what no worker takes."""


def batch_lines(count: int) -> bytes:
    """A file of so many requests, of which some are answered with an error."""
    return b"".join(orjson.dumps(_line(number), option=orjson.OPT_APPEND_NEWLINE) for number in range(count))


def _line(number: int) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": f"hello {number}"}]}
    if number % BAD_EVERY == 0:
        body["colour"] = "blue"
    return {"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def faults(point: Point, count: int, batch: Any, answers: bytes, errors: bytes) -> Iterator[str]:
    """What is wrong with an ended batch and its two files."""
    status = "cancelled" if point.cancels else "completed"
    if batch.status != status:
        yield f"its status is {batch.status}, not {status}"
    told = batch.request_counts
    ids = [[orjson.loads(line)["custom_id"] for line in file.splitlines()] for file in (answers, errors)]
    if (told.total, told.completed, told.failed) != (count, len(ids[0]), len(ids[1])):
        yield f"it counts {told}, its files have {len(ids[0])} and {len(ids[1])} lines"
    times = Counter(ids[0] + ids[1])
    expected = {f"q-{number}" for number in range(count)}
    yield from _unless_empty("lost", expected - times.keys())
    yield from _unless_empty("unknown", times.keys() - expected)
    yield from _unless_empty("doubled", [each for each, found in times.items() if found > 1])
    bad = {f"q-{number}" for number in range(0, count, BAD_EVERY)}
    yield from _unless_empty("answered, of requests that cannot be", bad & set(ids[0]))
    if not point.cancels:
        yield from _unless_empty("failed, of sound requests", set(ids[1]) - bad)


def leftovers(storage: Path, known: set[str]) -> Iterator[str]:
    """What is in the storage and belongs to no file of `known`. Drafts of dead servers are swept later."""
    for path in storage.rglob("*"):
        where = path.relative_to(storage)
        if path.is_file() and where.parts[0] != "drafts" and (where.parts[0] == "parts" or where.parts[1] not in known):
            yield f"left in the storage: {where}"


def sent_twice(batch_id: str, sent: Mapping[bytes, int]) -> Iterator[str]:
    """`sent` counts the committed requests by correlation id."""
    own = f"{batch_id}-".encode()
    yield from _unless_empty("sent twice", [each for each, times in sent.items() if each.startswith(own) and times > 1])


def _unless_empty(what: str, found: Iterable[object]) -> Iterator[str]:
    if some := list(found):
        yield f"{len(some)} lines {what}: {some[:3]}"
