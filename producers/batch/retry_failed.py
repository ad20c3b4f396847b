"""The part of a batch file that has no answer in an earlier output: for sending what failed once more."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from pelton.producers.batch.file import id_digest, is_answer, lines_of, read_requests
from pelton.producers.errors import BatchError


@contextmanager
def without_answer(source: Path, earlier: Path | None) -> Iterator[Path]:
    """A copy of `source` with blank lines in place of those answered in `earlier`; `source` itself without one.

    Lines keep their numbers. Raises `BatchError` when a file cannot be read, or `earlier` is no output of a batch.
    """
    if earlier is None:
        yield source
        return
    answered = _answered_in(earlier)
    with tempfile.NamedTemporaryFile(prefix="pelton-retry-") as copy:
        wanted = {line.number for line in read_requests(source) if id_digest(line.custom_id) not in answered}
        for number, raw in enumerate(lines_of(source), start=1):
            copy.write(raw if number in wanted else b"\n")
        copy.flush()
        yield Path(copy.name)


def _answered_in(earlier: Path) -> set[bytes]:
    answered = set()
    for number, raw in enumerate(lines_of(earlier), start=1):
        try:
            entry = orjson.loads(raw)
        except orjson.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or "custom_id" not in entry:
            raise BatchError(f"{earlier} is no output of a batch: line {number} has no custom_id.")
        if is_answer(entry):
            answered.add(id_digest(entry["custom_id"]))
    return answered
