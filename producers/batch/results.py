"""The output file of a batch, and the names by which a run's lines are known elsewhere.

Which lines are done is read from the output itself: a result is either there, whole, or it is not.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import orjson

from pelton.producers.batch.append_only_file import AppendOnlyFile
from pelton.producers.batch.file import error_code, is_answer
from pelton.producers.errors import BatchError

_RESULT_PREFIX = "batch_req_"


class LineState(IntEnum):
    """What has become of a line of the input; one byte each."""

    UNSENT = 0
    SENT = 1
    """Kafka has acknowledged it."""
    DONE = 2
    """Its result is in the output."""


@dataclass(frozen=True, slots=True)
class RunNames:
    """A run's lines by number, as correlation ids on the topics and as `id` in the output; both can be read back."""

    run_id: str

    def correlation_id(self, line: int) -> bytes:
        return f"{self.run_id}-{line}".encode()

    def result_id(self, line: int) -> str:
        return f"{_RESULT_PREFIX}{self.run_id}-{line}"

    def line_of(self, correlation_id: bytes) -> int | None:
        """The line's number; None for what is not of this run."""
        prefix = f"{self.run_id}-".encode()
        number = correlation_id.removeprefix(prefix)
        return int(number) if number != correlation_id and number.isdigit() else None

    def line_of_result(self, result_id: object) -> int | None:
        name = str(result_id)
        return self.line_of(name.removeprefix(_RESULT_PREFIX).encode()) if name.startswith(_RESULT_PREFIX) else None


class Results(AppendOnlyFile):
    """The output of a run. `states` is updated from what the file holds. Raises `BatchError` for a foreign one."""

    def __init__(self, path: Path, names: RunNames, states: bytearray) -> None:
        super().__init__(path, begins=b'{"id":')
        self.answered = 0
        self.errors: Counter[str] = Counter()
        """Results that are no answers, by their code."""
        try:
            self._load(names, states)
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        return self.answered + self.failed

    @property
    def failed(self) -> int:
        return self.errors.total()

    def add(self, lines: Sequence[tuple[bytes, bool]]) -> None:
        """Append output lines; each comes with whether it is an answer."""
        self.append([line for line, _ in lines])
        for line, answered in lines:
            self._tally(None if answered else error_code(orjson.loads(line)))

    def _load(self, names: RunNames, states: bytearray) -> None:
        for entry in self.entries():
            line = names.line_of_result(entry.get("id"))
            if line is None or line >= len(states):
                raise BatchError(
                    f"{self.path} holds results that are not of the run its journal tells of: move both away to start "
                    "from the beginning, or choose another output."
                )
            states[line] = LineState.DONE
            self._tally(None if is_answer(entry) else error_code(entry))

    def _tally(self, error: str | None) -> None:
        if error is None:
            self.answered += 1
        else:
            self.errors[error] += 1
