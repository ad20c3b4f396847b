"""The report as it travels on `reports.results`, and as every output is made from it."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from pelton.producers.reports.spec.model import FigureMode, OutputFormat

VERSION = 1


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CellSource(_Part):
    """Where a number stands: `table` is the id of a table of the report, empty for text; rows and columns
    from 0, -1 where it is a whole column or no table.
    """

    table: str = ""
    row: int = -1
    column: int = -1
    quote: str
    label: str = ""
    period: str = ""


class ReportFigure(_Part):
    """A rendered reference: characters `start` to `end` of the section's text. `names_period`: it is no amount, but a
    column's heading.
    """

    text: str
    start: int
    end: int
    operation: str
    label: str
    period: str
    formula: str
    sources: tuple[CellSource, ...]
    names_period: bool = False


class Finding(_Part):
    """What the check says of a number (`supported`, `derived`, `unsupported`), or of a reference that failed."""

    text: str
    start: int
    end: int
    verdict: str
    source: str = ""
    formula: str = ""
    reason: str = ""


class Provenance(_Part):
    """How a text came to be. Times are milliseconds, `created` Unix seconds."""

    model: str = ""
    worker: str = ""
    cache: str = ""
    attempts: int = 1
    created: int = 0
    queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""
    fingerprint: str = ""
    revised: bool = False
    """Whether the first text had faults and was written again."""
    prompt: str = ""


class Note(_Part):
    """What was noted of one part of a long source."""

    id: str
    text: str
    provenance: Provenance


class ReportSection(_Part):
    """A section. `flagged`: it has more faults than the job allows, even after it was written again."""

    id: str
    title: str
    mode: FigureMode
    text: str
    figures: tuple[ReportFigure, ...] = ()
    findings: tuple[Finding, ...] = ()
    flagged: bool = False
    chart: str = ""
    """The id of a table to draw, or empty."""
    notes: tuple[Note, ...] = ()
    provenance: Provenance = Provenance()


class ReportTable(_Part):
    id: str
    source: str
    caption: str
    rows: tuple[tuple[str, ...], ...]


class ReportSource(_Part):
    name: str
    title: str
    format: str
    sha256: str
    characters: int
    tables: int


class Report(_Part):
    """The value of a result. `state` is final; a failed or cancelled job has its names and `error` only.

    Times are Unix milliseconds.
    """

    version: int = VERSION
    id: str
    run: str
    state: JobState
    error: dict[str, Any] | None = None
    title: str = ""
    entity: str = ""
    period: str = ""
    created_ms: int = 0
    finished_ms: int = 0
    sections: tuple[ReportSection, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    sources: tuple[ReportSource, ...] = ()
    formats: tuple[OutputFormat, ...] = ()

    @property
    def message(self) -> str:
        """What went wrong, in words; empty for a finished report."""
        return str((self.error or {}).get("message", ""))

    def without_tables(self) -> "Report":
        """Without source tables and prompts, which take most of the room."""
        bare = [
            section.model_copy(update={"chart": "", "provenance": section.provenance.model_copy(update={"prompt": ""})})
            for section in self.sections
        ]
        return self.model_copy(update={"tables": (), "sections": tuple(bare)})

    def encode(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()
