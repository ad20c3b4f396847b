"""The documents of a report, written into a folder."""

from pathlib import Path

import orjson

from pelton.producers.reports.assembly.html import to_page
from pelton.producers.reports.assembly.markdown import to_markdown
from pelton.producers.reports.assembly.pdf import print_pdf
from pelton.producers.reports.assembly.report import Report
from pelton.producers.reports.spec.model import OutputFormat


def write_outputs(report: Report, folder: Path) -> list[Path]:
    """Write what the job asked for, named after it; a PDF only where there is a browser to print it.

    Returns what was written, in order. Raises `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    page = to_page(report)
    for kind in dict.fromkeys(report.formats):
        path = folder / f"{report.id}.{_ENDINGS[kind]}"
        if kind is OutputFormat.PDF:
            if print_pdf(page, path):
                written.append(path)
            continue
        text = {
            OutputFormat.HTML: lambda: page,
            OutputFormat.MARKDOWN: lambda: to_markdown(report),
            OutputFormat.JSON: lambda: orjson.dumps(
                report.model_dump(mode="json", exclude_none=True), option=orjson.OPT_INDENT_2
            ).decode(),
        }[kind]()
        path.write_text(text, "utf-8")
        written.append(path)
    return written


_ENDINGS = {
    OutputFormat.HTML: "html",
    OutputFormat.MARKDOWN: "md",
    OutputFormat.JSON: "json",
    OutputFormat.PDF: "pdf",
}
