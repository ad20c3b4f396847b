"""A batch's input looked at as a whole before anything of it is sent, as OpenAI does."""

from dataclasses import dataclass
from pathlib import Path

from pelton.producers.batch.file import read_requests
from pelton.producers.batch.text_form import HEAD_BYTES, text_form
from pelton.producers.http.batches.documents import Fault

MAX_FAULTS = 100
"""Faults that a refused batch tells of."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How many requests a file holds, how many lines, and what keeps it from being sent."""

    requests: int
    lines: int
    faults: tuple[Fault, ...]


def check_input(path: Path, *, max_requests: int) -> Checked:
    """Read all of a file, on a thread. Raises `BatchError` where it cannot be read."""
    requests = lines = 0
    faults: list[Fault] = []
    with path.open("rb") as file:
        form = text_form(file.read(HEAD_BYTES))
    if form is not None:
        return Checked(0, 0, (Fault("invalid_file", f"The input file is {form}: upload a file of UTF-8 lines."),))
    for line in read_requests(path):
        requests += 1
        lines = line.number
        if line.fault is not None and len(faults) < MAX_FAULTS:
            faults.append(Fault(line.fault.code, line.fault.message, line.number))
    if not requests:
        faults.append(Fault("empty_file", "The input file has no requests."))
    if requests > max_requests:
        message = f"The input file has {requests:,} requests, more than the {max_requests:,} that are taken: split it."
        faults.append(Fault("too_many_requests_in_batch", message))
    return Checked(requests, lines, tuple(faults))
