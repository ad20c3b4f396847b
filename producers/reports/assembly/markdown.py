"""The report as Markdown: for other tools, and for eyes."""

from collections.abc import Iterator

from pelton.producers.reports.assembly.report import Report, ReportFigure, ReportSection, ReportTable
from pelton.producers.reports.assembly.text import plain


def to_markdown(report: Report) -> str:
    """Each section with a table of its figures, then the source tables and how it was made."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_line(report.entity)}: {_line(report.title or 'Report')}"
    yield f"\n{_line(report.period)}\n"
    for section in report.sections:
        yield from _section(section)
    yield "## Source tables\n"
    for table in report.tables:
        yield from _table(table)
    yield "## How this was made\n"
    yield f"Job `{_line(report.id)}`, submission `{_line(report.run)}`.\n"
    yield "| Section | Model | Cache | Tokens in | Tokens out |\n| --- | --- | --- | --- | --- |"
    for section in report.sections:
        made = section.provenance
        row = (section.title, made.model, made.cache or "none", made.prompt_tokens, made.completion_tokens)
        yield _row(map(str, row))
    yield ""


def _section(section: ReportSection) -> Iterator[str]:
    yield f"## {_line(section.title)}\n"
    if section.flagged:
        yield "**Numbers in this section have no source.**\n"
    yield f"{_escaped(section.text)}\n"
    if amounts := [figure for figure in section.figures if not figure.names_period]:
        yield "| Figure | What | Formula | Source |\n| --- | --- | --- | --- |"
        yield from map(_figure, amounts)
        yield ""
    unsupported = [found for found in section.findings if found.verdict not in ("supported", "derived")]
    for found in unsupported:
        yield f"- {_line(found.text)}: {_line(found.reason or found.verdict)}"
    if unsupported:
        yield ""


def _figure(figure: ReportFigure) -> str:
    about = ", ".join(part for part in (figure.label, figure.period) if part)
    sources = "; ".join(f"{source.quote} ({source.table or 'text'})" for source in figure.sources)
    return _row((figure.text, about, figure.formula or "as stated", sources))


def _table(table: ReportTable) -> Iterator[str]:
    yield f"### {_line(table.source)}{': ' + _line(table.caption) if table.caption else ''}\n"
    yield _row(table.rows[0])
    yield _row("---" for _ in table.rows[0])
    yield from map(_row, table.rows[1:])
    yield ""


def _row(cells: object) -> str:
    return "| " + " | ".join(_line(str(cell)).replace("|", r"\|") for cell in cells) + " |"  # type: ignore[attr-defined]


def _line(text: str) -> str:
    return " ".join(_escaped(text).split())


def _escaped(text: str) -> str:
    """HTML in it stays text, also for readers that render what they find."""
    return plain(text).replace("&", "&amp;").replace("<", "&lt;")
