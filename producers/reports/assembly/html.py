"""The report as one HTML file: no script, nothing from elsewhere, and a policy that forbids both.

A figure is a button that opens a note with its source (the browser's own popover); the note links to the cell.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pelton.producers.reports.assembly.charts import bar_chart
from pelton.producers.reports.assembly.report import (
    CellSource,
    Finding,
    Report,
    ReportFigure,
    ReportSection,
    ReportTable,
)
from pelton.producers.reports.assembly.text import Mark, plain, to_html

_VERDICTS = {"supported": "Found in a source", "derived": "Computed from sources", "unsupported": "No source found"}

_ENVIRONMENT = Environment(
    loader=PackageLoader("pelton.producers.reports.assembly", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class SectionView:
    """A section as the template needs it."""

    section: ReportSection
    index: int
    chart: Markup | None

    @property
    def anchor(self) -> str:
        return f"section-{self.index}"

    @cached_property
    def body(self) -> Markup:
        figures = [
            Mark(figure.start, figure.end, self.note(number), "period" if figure.names_period else "figure")
            for number, figure in enumerate(self.section.figures)
        ]
        findings = [
            Mark(found.start, found.end, self.finding_note(number), _kind(found))
            for number, found in enumerate(self.section.findings)
        ]
        return to_html(self.section.text, [*figures, *findings])

    @property
    def amounts(self) -> list[ReportFigure]:
        """Figures without those that only name a period."""
        return [figure for figure in self.section.figures if not figure.names_period]

    def note(self, number: int) -> str:
        return f"f{self.index}-{number}"

    def finding_note(self, number: int) -> str:
        return f"c{self.index}-{number}"

    def kind(self, found: Finding) -> str:
        return _kind(found)

    def verdict(self, found: Finding) -> str:
        return _VERDICTS.get(found.verdict, "Not shown: " + found.verdict.replace("_", " "))

    def about(self, figure: ReportFigure) -> str:
        return ", ".join(part for part in (figure.label, figure.period) if part)


def to_page(report: Report, *, home: str | None = None) -> str:
    """`home` is where a link back to the list of reports goes; None: there is no such link."""
    style = resources.files("pelton.producers.reports.assembly").joinpath("templates", "report.css").read_text("utf-8")
    tables = {table.id: table for table in report.tables}
    views = [
        SectionView(section, index, _chart(tables.get(section.chart)))
        for index, section in enumerate(report.sections, 1)
    ]
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        sections=views,
        tables=report.tables,
        titles={source.name: source.title for source in report.sources},
        style=Markup(style),  # noqa: S704  # our own file
        policy=policy(style),
        anchor=partial(cell_anchor, tables=tables),
        cell_id=cell_id,
        when=_when,
        plain=plain,
        home=home,
        seconds=(report.finished_ms - report.created_ms) / 1000,
        figure_count=sum(len(view.amounts) for view in views),
        flagged=[section.title for section in report.sections if section.flagged],
    )


def policy(style: str) -> str:
    """The content security policy of a page with this style sheet in it, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def cell_id(table: str, row: int, column: int) -> str:
    return f"cell-{table}-{row}-{column}"


def cell_anchor(source: CellSource, tables: Mapping[str, ReportTable]) -> str:
    """Where a link to the source goes; empty for text, and for what the report does not have."""
    if source.table not in tables or source.row >= len(tables[source.table].rows):
        return ""
    return f"#{cell_id(source.table, source.row, source.column)}" if source.row >= 0 else f"#table-{source.table}"


def _kind(found: Finding) -> str:
    return found.verdict if found.verdict in _VERDICTS else "unsupported"


def _chart(table: ReportTable | None) -> Markup | None:
    return bar_chart(table.rows, table.caption) if table is not None else None


def _when(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
