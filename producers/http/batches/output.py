"""The two files that a batch leaves: answers, and errors. Lines are in the order of the input."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pelton.producers.batch.file import LineFault, output_line, refusal_outcome, requests_after
from pelton.producers.batch.results import RunNames
from pelton.producers.http.batches.spool import Spool


@dataclass(frozen=True, slots=True)
class Outputs:
    """Paths of both files, and how many lines each has."""

    answers: Path
    errors: Path
    answered: int
    failed: int


@contextmanager
def written_outputs(source: Path, spool: Spool, names: RunNames, missing: LineFault) -> Iterator[Outputs]:
    """Write both, on a thread: exactly one line for each request of `source`; `missing` where it has no result.

    Raises `BatchError` or `OSError`. The files are gone when the context ends.
    """
    unfinished = refusal_outcome(missing)
    answered = failed = 0
    with TemporaryDirectory(prefix="pelton-output-") as folder:
        paths = Path(folder) / "answers", Path(folder) / "errors"
        with paths[0].open("wb") as answers, paths[1].open("wb") as errors:
            for line, _ in requests_after(source):
                outcome, ok = spool.result(line.number) or (unfinished, False)
                whole = output_line(names.result_id(line.number), line.custom_id, outcome)
                if ok:
                    answers.write(whole)
                    answered += 1
                else:
                    errors.write(whole)
                    failed += 1
        yield Outputs(*paths, answered, failed)
