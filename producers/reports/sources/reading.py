"""Sources by their format."""

import csv
import io
from collections.abc import Callable

import orjson

from pelton.producers.reports.errors import SourceUnusable
from pelton.producers.reports.sources.document import Document, DocumentBuilder
from pelton.producers.reports.sources.html import read_html
from pelton.producers.reports.sources.ixbrl import tagged_numbers, tagged_rows
from pelton.producers.reports.sources.markdown import read_markdown
from pelton.producers.reports.spec.model import SourceFormat, SourceSpec

_SNIFFED_CHARS = 8_192
_MAX_FIELD = 20_000


def read_source(source: SourceSpec) -> Document:
    """Parse a source that has its content. Raises `SourceUnusable`, which names the source."""
    if source.content is None or source.format is None:
        raise SourceUnusable(f"Source {source.name!r} has no content: send jobs with `pelton report` or `submit`.")
    counted = f"All amounts are in {source.unit}." if source.unit else ""
    builder = DocumentBuilder(source.name, source.title or source.name, counted)
    builder.paragraph(counted)
    try:
        _READERS[source.format](source.content, builder)
    except (csv.Error, orjson.JSONDecodeError, ValueError, RecursionError) as error:
        raise SourceUnusable(f"Source {source.name!r} is not {source.format}: {error}.") from None
    return builder.build()


def _read_csv(text: str, builder: DocumentBuilder) -> None:
    try:
        dialect = csv.Sniffer().sniff(text[:_SNIFFED_CHARS], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(_MAX_FIELD)
    builder.table([list(row) for row in csv.reader(io.StringIO(text, newline=""), dialect)])


def _read_ixbrl(text: str, builder: DocumentBuilder) -> None:
    """What the filing tags as a table of its own, then the page as it is read by people."""
    builder.table(tagged_rows(tagged_numbers(text)), "Numbers that the filing tags")
    read_html(text, builder)


def _read_text(text: str, builder: DocumentBuilder) -> None:
    for block in text.replace("\r\n", "\n").split("\n\n"):
        builder.paragraph(block)


def _read_json(text: str, builder: DocumentBuilder) -> None:
    """`{"tables": [...], "paragraphs": [...]}`, one table (a list of lists), or records (a list of objects)."""
    value = orjson.loads(text)
    if isinstance(value, dict) and not value.keys() & {"table", "tables", "paragraphs"}:
        value = [value]
    if isinstance(value, list):
        builder.table(_rows(value))
        return
    if not isinstance(value, dict):
        raise ValueError("expected a list of rows, a list of records, or an object with tables and paragraphs")  # noqa: TRY004  # a fault of the data, not of the program
    for paragraph in _list(value.get("paragraphs")):
        builder.paragraph(str(paragraph))
    single = [value["table"]] if "table" in value else []
    for table in [*single, *_list(value.get("tables"))]:
        if isinstance(table, dict):
            builder.table(_rows(_list(table.get("rows"))), str(table.get("caption", "")), str(table.get("context", "")))
        else:
            builder.table(_rows(_list(table)))


def _rows(items: list[object]) -> list[list[str]]:
    if all(isinstance(item, dict) for item in items):
        records = [item for item in items if isinstance(item, dict)]
        names = list(dict.fromkeys(str(name) for record in records for name in record))
        return [names, *([_cell(record.get(name)) for name in names] for record in records)]
    if not all(isinstance(item, list) for item in items):
        raise ValueError("a table is a list of rows, each a list of cells or an object")
    return [[_cell(cell) for cell in item] for item in items if isinstance(item, list)]


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("tables and paragraphs must be lists")  # noqa: TRY004  # likewise
    return value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        raise ValueError("a cell must be text or a number")  # noqa: TRY004  # a fault of the data, not of the program
    return str(value)


_READERS: dict[SourceFormat, Callable[[str, DocumentBuilder], None]] = {
    SourceFormat.CSV: _read_csv,
    SourceFormat.JSON: _read_json,
    SourceFormat.MARKDOWN: read_markdown,
    SourceFormat.HTML: read_html,
    SourceFormat.IXBRL: _read_ixbrl,
    SourceFormat.TEXT: _read_text,
}
