"""The border of `pelton figures check`: JSON lines in, verdicts or an error out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from pelton.producers.reports.figures.checking.check import check_record
from pelton.producers.reports.figures.model import DERIVED, SUPPORTED, UNSUPPORTED, Verdict

_MAX_ERRORS_SHOWN = 10


def _cell(value: object) -> object:
    """Cells may be numbers or null in JSON; they are read as they are written."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float) else value


_Cell = Annotated[str, BeforeValidator(_cell)]


class Record(BaseModel):
    """A text with its sources. Other fields of a line are ignored."""

    text: str
    tables: list[list[list[_Cell]]] = Field(default_factory=list)
    paragraphs: list[str] = Field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """What was found so far. `first_errors` has line numbers and messages of the first few."""

    lines: int = 0
    errors: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    first_errors: list[tuple[int, str]] = field(default_factory=list)

    @property
    def figures(self) -> int:
        return self.verdicts.total()

    @property
    def supported(self) -> int:
        return self.verdicts[SUPPORTED]

    @property
    def derived(self) -> int:
        return self.verdicts[DERIVED]

    @property
    def unsupported(self) -> int:
        return self.verdicts[UNSUPPORTED]

    def as_dict(self) -> dict[str, int]:
        verdicts = {verdict: self.verdicts[verdict] for verdict in (SUPPORTED, DERIVED, UNSUPPORTED)}
        return {"lines": self.lines, "errors": self.errors, "figures": self.figures, **verdicts}


def check_line(number: int, line: bytes, counts: Counts) -> dict[str, Any]:
    """The verdicts of one line, or its error, which `counts` keeps with the line's number."""
    counts.lines += 1
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        message = _first(error)
        counts.errors += 1
        if len(counts.first_errors) < _MAX_ERRORS_SHOWN:
            counts.first_errors.append((number, message))
        return {"error": message}
    verdicts = check_record(record.model_dump())
    counts.verdicts.update(verdict.verdict for verdict in verdicts)
    return {"figures": [as_json(verdict) for verdict in verdicts]}


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the output has it; what does not apply is null."""
    return {
        "text": verdict.text,
        "start": verdict.start,
        "end": verdict.end,
        "verdict": verdict.verdict,
        "source": verdict.source or None,
        "formula": verdict.formula or None,
        "reason": verdict.reason or None,
    }


def _first(error: ValidationError) -> str:
    """The first fault, with its field."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
