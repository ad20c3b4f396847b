"""HTML as blocks: headings, paragraphs and tables, hidden parts, scripts and styles left out.

Filings lay a cell out over several columns (`$`, `1,204`, `)`): such columns are joined again.
"""

from html.parser import HTMLParser

from pelton.producers.reports.sources.document import DocumentBuilder

_SKIPPED = {"script", "style", "head", "template", "noscript", "svg", "ix:header", "object", "iframe"}
_BREAKS = {"p", "div", "li", "br", "section", "article", "ul", "ol", "hr", "blockquote", "body", "dd", "dt", "pre"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_VOID = {"br", "hr", "img", "input", "meta", "link", "col", "wbr", "area", "base", "embed", "source", "track"}
_MAX_SPAN = 60


def read_html(text: str, builder: DocumentBuilder) -> None:
    """Raises `SourceUnusable` past the limits."""
    parser = _Blocks(builder)
    parser.feed(text)
    parser.close()
    parser.finish()


class _Blocks(HTMLParser):
    """Reads tags as they come, without a tree: no nesting is too deep. A table in a table is text of its cell."""

    def __init__(self, builder: DocumentBuilder) -> None:
        super().__init__(convert_charrefs=True)
        self._builder = builder
        self._text: list[str] = []
        self._hidden: list[str] = []
        self._tables = 0
        self._rows: list[list[str]] = []
        self._width = 1
        self._spans: set[tuple[int, int]] = set()
        self._in_cell = False
        self._last = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            if tag not in _VOID:
                self._hidden.append(tag)
            return
        if tag in _SKIPPED or _is_hidden(attrs):
            if tag not in _VOID:
                self._flush()
                self._hidden.append(tag)
            return
        if tag == "table":
            self._open_table()
        elif self._tables == 1 and tag == "tr":
            self._close_cell()
            self._rows.append([])
        elif self._tables == 1 and tag in {"td", "th"}:
            self._close_cell()
            self._open_cell(attrs)
        elif tag in _BREAKS or tag in _HEADINGS or tag == "caption":
            self._flush()

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._leave_hidden(tag)
        elif tag == "table":
            self._close_table()
        elif self._tables == 1 and tag in {"td", "th", "tr"}:
            self._close_cell()
        elif tag in _HEADINGS and not self._in_cell:
            heading, self._text = " ".join("".join(self._text).split()), []
            self._builder.heading(heading)
            self._last = heading or self._last
        elif tag in _BREAKS or tag == "caption":
            self._flush()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data)

    def finish(self) -> None:
        """Give out what unclosed tags hold back."""
        self._hidden = []
        while self._tables:
            self._close_table()
        self._flush()

    def _leave_hidden(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass

    def _flush(self) -> None:
        if self._in_cell:
            self._text.append(" ")
            return
        text, self._text = " ".join("".join(self._text).split()), []
        if text:
            self._builder.paragraph(text)
            self._last = text

    def _open_table(self) -> None:
        self._flush()
        self._tables += 1
        if self._tables == 1:
            self._rows, self._spans = [], set()

    def _close_table(self) -> None:
        if self._tables == 0:
            return
        if self._tables == 1:
            self._close_cell()
            caption = self._last if len(self._last) <= _CAPTION_CHARS else ""
            self._builder.table(_joined(self._rows, sorted(self._spans)), caption, self._last)
            self._rows = []
        self._tables -= 1

    def _open_cell(self, attrs: list[tuple[str, str | None]]) -> None:
        if not self._rows:
            self._rows.append([])
        span = dict(attrs).get("colspan") or "1"
        readable = span.isdecimal() and len(span) < _SPAN_DIGITS
        self._width = max(1, min(int(span), _MAX_SPAN)) if readable else 1
        self._text = []
        self._in_cell = True

    def _close_cell(self) -> None:
        if not self._in_cell:
            return
        text, self._text = " ".join("".join(self._text).split()), []
        self._in_cell = False
        row = self._rows[-1]
        if text and self._width > 1:
            self._spans.add((len(row), len(row) + self._width))
        row.extend([text, *[""] * (self._width - 1)])
        self._builder.check_size(len(self._rows), len(row))


_CAPTION_CHARS = 200
_SPAN_DIGITS = 4


def _is_hidden(attrs: list[tuple[str, str | None]]) -> bool:
    names = dict(attrs)
    style = (names.get("style") or "").replace(" ", "").lower()
    return "hidden" in names or "display:none" in style


def _joined(rows: list[list[str]], spans: list[tuple[int, int]]) -> list[list[str]]:
    """Put `$` before the number that follows it and `)` or `%` behind the one before it, and make one column of those
    that a heading spans while no row has more than one of them filled; drop columns left empty.
    """
    width = max(map(len, rows), default=0)
    rows = [row + [""] * (width - len(row)) for row in rows]
    for row in rows:
        _join_signs(row)
    for start, end in spans:
        if all(sum(map(bool, row[start:end])) <= 1 for row in rows):
            for row in rows:
                row[start:end] = ["".join(row[start:end]), *[""] * (end - start - 1)]
    used = [column for column in range(width) if any(row[column] for row in rows)]
    return [[row[column] for column in used] for row in rows]


def _join_signs(row: list[str]) -> None:
    for index, cell in enumerate(row):
        if cell in {"$", "€", "£", "¥", "("}:
            following = next((at for at in range(index + 1, len(row)) if row[at]), None)
            if following is not None:
                row[following], row[index] = cell + row[following], ""
        elif cell in {")", "%", ")%", "x"}:
            before = next((at for at in range(index - 1, -1, -1) if row[at]), None)
            if before is not None:
                row[before], row[index] = row[before] + cell, ""
