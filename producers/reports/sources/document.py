"""A source as the rest sees it: headings, paragraphs and tables in reading order, within limits."""

from dataclasses import dataclass

from pelton.producers.reports.errors import SourceUnusable

MAX_TABLES = 500
MAX_ROWS = 2_000
MAX_COLUMNS = 60
MAX_RAW_COLUMNS = 600
"""Of an HTML table, before columns that only lay it out are joined."""
MAX_CELLS = 100_000
MAX_TEXT_CHARS = 2_000_000
MIN_TEXT_CHARS = 80
"""A source with less text than this and without a table of two rows is taken for missing data."""


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as rows of cell texts; `context` is text around it that may say what it counts."""

    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    context: str = ""


Block = Heading | Paragraph | Grid


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed source."""

    name: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def grids(self) -> list[Grid]:
        return [block for block in self.blocks if isinstance(block, Grid)]

    @property
    def paragraphs(self) -> list[str]:
        return [block.text for block in self.blocks if isinstance(block, Paragraph)]


class DocumentBuilder:
    """Collects blocks and keeps the limits. Its methods raise `SourceUnusable`."""

    def __init__(self, name: str, title: str, counted: str = "") -> None:
        """`counted` is a sentence on what the tables count that have no text around them."""
        self._counted_in = counted
        self._name = name
        self._title = title
        self._blocks: list[Block] = []
        self._chars = 0
        self._tables = 0
        self._cells = 0

    def heading(self, text: str) -> None:
        if text := self._counted(text):
            self._blocks.append(Heading(text))

    def paragraph(self, text: str) -> None:
        if text := self._counted(text):
            self._blocks.append(Paragraph(text))

    def table(self, rows: list[list[str]], caption: str = "", context: str = "") -> None:
        """Rows are filled up to the same length; a table without any text is left out."""
        kept = [row for row in rows if any(cell.strip() for cell in row)]
        if not kept:
            return
        width = max(map(len, kept))
        self._tables += 1
        self._cells += len(kept) * width
        self._limit("tables", self._tables, MAX_TABLES)
        self._limit("rows in a table", len(kept), MAX_ROWS)
        self._limit("columns in a table", width, MAX_COLUMNS)
        self._limit("table cells", self._cells, MAX_CELLS)
        filled = tuple(tuple(" ".join(cell.split()) for cell in row) + ("",) * (width - len(row)) for row in kept)
        self._blocks.append(Grid(filled, " ".join(caption.split())[:300], (context or self._counted_in)[:500]))

    def check_size(self, rows: int, columns: int) -> None:
        """For readers that would spend much on a table before they give it here."""
        self._limit("rows in a table", rows, MAX_ROWS)
        self._limit("columns in a table", columns, MAX_RAW_COLUMNS)

    def build(self) -> Document:
        """Raises `SourceUnusable` for a source that holds too little to write about."""
        document = Document(self._name, self._title, tuple(self._blocks))
        text = sum(map(len, document.paragraphs))
        if text < MIN_TEXT_CHARS and not any(len(grid.rows) > 1 for grid in document.grids):
            found = f"only {text} characters of text" if text else "no text"
            raise SourceUnusable(
                f"Source {self._name!r} holds {found} and no table with data: a report over it would be made up. "
                "Check that the right file was exported, or remove the source."
            )
        return document

    def _counted(self, text: str) -> str:
        text = " ".join(text.split())
        self._chars += len(text)
        self._limit("characters of text", self._chars, MAX_TEXT_CHARS)
        return text

    def _limit(self, what: str, number: int, most: int) -> None:
        if number > most:
            raise SourceUnusable(
                f"Source {self._name!r} has more than {most:,} {what}: keep only the parts that the report needs."
            )
