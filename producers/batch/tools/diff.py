"""What of a batch file has an answer in its outputs, and what has not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pelton.producers.batch.file import id_digest, is_answer, read_requests
from pelton.producers.errors import BatchError

_ANSWERED, _FAILED = 1, 2


@dataclass(slots=True)
class Difference:
    """Counts of requests; `doubled` have more than one line in the outputs, `foreign` output lines have no request."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    missing: int = 0
    doubled: int = 0
    foreign: int = 0

    @property
    def complete(self) -> bool:
        """Whether each request has one answer, and there is nothing else."""
        return self.answered == self.requests and not (self.doubled or self.foreign)


def diff(source: Path, outputs: Sequence[Path], on_open: Callable[[int, str | None, str], None]) -> Difference:
    """Compare by `custom_id`. `on_open` is called with line number, `custom_id` and `failed` or `missing`.

    Remembers some 100 bytes of each request. Raises `BatchError`.
    """
    found = Difference()
    outcomes: dict[bytes, int] = {}
    doubled: set[bytes] = set()
    for entry in (entry for output in outputs for entry in _entries(output)):
        key = id_digest(entry.get("custom_id"))
        doubled |= {key} if key in outcomes else set()
        outcomes[key] = _ANSWERED if is_answer(entry) or outcomes.get(key) == _ANSWERED else _FAILED
    for line in read_requests(source):
        found.requests += 1
        key = id_digest(line.custom_id)
        found.doubled += key in doubled
        match outcomes.pop(key, None):
            case 1:
                found.answered += 1
            case None:
                found.missing += 1
                on_open(line.number, line.custom_id, "missing")
            case _:
                found.failed += 1
                on_open(line.number, line.custom_id, "failed")
    found.foreign = len(outcomes)
    return found


def _entries(output: Path) -> Iterator[dict[str, Any]]:
    try:
        with output.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                entry = _entry(raw)
                if entry is None and raw.endswith(b"\n"):
                    raise BatchError(f"{output}: line {number} is not a JSON object: is it the output of a batch?")
                if entry is not None:
                    yield entry
    except OSError as error:
        raise BatchError(f"{output} cannot be read: {error.strerror}.") from None


def _entry(raw: bytes) -> dict[str, Any] | None:
    """None for what is no object, as a last line that is being written may be."""
    try:
        entry = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) else None
