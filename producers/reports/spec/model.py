"""A report job as it is written down, and as it travels on `reports.jobs` with its sources in it."""

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SECTIONS = 64
MAX_SOURCES = 64
MAX_TEMPLATE_CHARS = 16_384

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Line = Annotated[str, Field(max_length=300)]
Template = Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE_CHARS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFormat(StrEnum):
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"
    TEXT = "text"
    IXBRL = "ixbrl"


class OutputFormat(StrEnum):
    HTML = "html"
    MARKDOWN = "markdown"
    JSON = "json"
    PDF = "pdf"


class FigureMode(StrEnum):
    """How the numbers of a section are kept true."""

    REFERENCE = "reference"
    """The model writes references to cells, never digits; code computes and renders them."""
    CHECKED = "checked"
    """The model writes digits, and each number is checked against the sources."""
    OFF = "off"


class FactKind(StrEnum):
    """What sentences that code writes over a table's rows say (`ModelOptions.guided`)."""

    LEVEL = "level"
    CHANGE = "change"
    """Against the period before."""
    SHARE = "share"
    """Of the table's total."""


class ModelOptions(_Strict):
    """Sampling and size of a section. Greedy by default, so that the same section gets the same text."""

    model: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 320
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_prompt_chars: Annotated[int, Field(ge=500, le=4_000_000)] = 16_000
    """A section whose sources take more is written from notes, which the model takes of one part after the other."""
    grammar: bool = True
    """Have the worker hold sections by reference to existing cells; False for engines without structured output."""

    guided: bool = False
    """For small models: sections by reference are chosen from sentences that code has written over the tables, and
    checked ones are held to words without numbers."""

    def fields(self) -> dict[str, Any]:
        """The sampling fields of the request body."""
        chosen = self.model_dump(
            exclude={"model", "max_tokens", "max_prompt_chars", "grammar", "guided"}, exclude_none=True
        )
        return {"model": self.model, "max_completion_tokens": self.max_tokens, **chosen}


class SourceSpec(_Strict):
    """Where a source comes from: a file beside the job (`path`), or text in the job itself (`content`)."""

    name: Identifier
    title: Line = ""
    format: SourceFormat | None = None
    """By the ending of `path` where it is not given."""
    path: Annotated[str, Field(max_length=1_000)] | None = None
    content: str | None = None
    unit: Annotated[str, Field(max_length=100)] = ""
    """What its tables count, where they do not say so: `USD millions`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.content is None):
            raise ValueError("give either path or content, and not both")
        if self.format is None and self.path is None:
            raise ValueError("content needs a format: csv, json, markdown, html or text")
        return self


class SectionSpec(_Strict):
    """One section: a prompt over sources, and over the sections that it `needs`.

    The prompt is a Jinja template, of which only variables, `if`, `for` and a few filters are allowed. It knows
    `entity`, `period`, `title`, `section` (id, title), `material` (all of the section's sources), `tables`,
    `paragraphs`, `sources` (name, title), `sections` (id, title and text of those it needs), `rules` (how to write
    references) and `metadata`.
    """

    id: Identifier
    title: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: Template
    sources: tuple[Identifier, ...] | None = None
    """Names of the sources that the prompt is about; all of them where it is not given."""
    needs: tuple[Identifier, ...] = ()
    figures: FigureMode = FigureMode.REFERENCE
    facts: tuple[FactKind, ...] = (FactKind.CHANGE, FactKind.LEVEL)
    """What a guided section by reference may say, and in how many sentences."""
    sentences: Annotated[int, Field(ge=1, le=12)] = 3
    chart: bool = False
    """Show a chart of the section's first table that has one."""
    model: ModelOptions | None = None
    """Instead of the job's."""


class ReportTemplate(_Strict):
    """A kind of report: a file of sections that jobs name in `report`."""

    name: Identifier
    title: Line
    description: Annotated[str, Field(max_length=2_000)] = ""
    system: Template
    sections: Annotated[tuple[SectionSpec, ...], Field(min_length=1, max_length=MAX_SECTIONS)]
    model: ModelOptions = ModelOptions()


class JobSpec(_Strict):
    """A report to be made. Either `report` names a template, or `sections` are written out."""

    id: Identifier | None = None
    """Asked for again under the same id, a job generates only what has changed. Made from other names by default."""
    title: Line = ""
    entity: Annotated[str, Field(min_length=1, max_length=200)]
    period: Annotated[str, Field(min_length=1, max_length=100)]
    report: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    """A template's name, or the path of a template file beside the job."""
    sources: Annotated[tuple[SourceSpec, ...], Field(min_length=1, max_length=MAX_SOURCES)]
    system: Template | None = None
    sections: Annotated[tuple[SectionSpec, ...], Field(max_length=MAX_SECTIONS)] = ()
    model: ModelOptions | None = None
    formats: Annotated[tuple[OutputFormat, ...], Field(min_length=1)] = (
        OutputFormat.HTML,
        OutputFormat.MARKDOWN,
        OutputFormat.JSON,
    )
    max_unsupported: Annotated[int, Field(ge=0)] = 0
    """Unsupported numbers that a section may have; with more it is written again once, then flagged."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a section is sent before the job fails."""
    metadata: Annotated[dict[str, str], Field(max_length=16)] = {}

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if (self.report is None) == (not self.sections):
            raise ValueError("give either report (a template's name) or sections, and not both")
        _unique("source", [source.name for source in self.sources])
        check_sections(self.sections, {source.name for source in self.sources})
        return self

    @property
    def identity(self) -> str:
        """The job's id: as given, or made from entity, period and kind of report."""
        if self.id is not None:
            return self.id
        words = "-".join((self.entity, self.period, self.report or self.title or "report"))
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:64].strip("-") or "report"


def check_sections(sections: tuple[SectionSpec, ...], sources: set[str] | None = None) -> None:
    """Raises `ValueError` for double ids, unknown sources (where they are given) or needs, and circles of needs."""
    _unique("section", [section.id for section in sections])
    known = {section.id for section in sections}
    for section in sections:
        for needed in section.needs:
            if needed not in known:
                raise ValueError(
                    f"section {section.id!r} needs {needed!r}, which is no section of this report: its sections are "
                    + ", ".join(sorted(known))
                )
        for source in section.sources or ():
            if sources is not None and source not in sources:
                raise ValueError(
                    f"section {section.id!r} names source {source!r}, which the job does not have: its sources are "
                    + ", ".join(sorted(sources))
                )
    _refuse_circles({section.id: section.needs for section in sections})


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} appears more than once")


def _refuse_circles(needs: dict[str, tuple[str, ...]]) -> None:
    done: set[str] = set()
    while ready := [name for name in needs if name not in done and done.issuperset(needs[name])]:
        done.update(ready)
    if left := sorted(needs.keys() - done):
        raise ValueError(f"sections need each other in a circle: {', '.join(left)}")
