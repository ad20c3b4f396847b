"""The sources of a job, and what one section sees of them: text, tables with addressed cells, and how long that is."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pelton.producers.reports import figures
from pelton.producers.reports.sources.document import Block, Document, Grid, Heading, Paragraph
from pelton.producers.reports.sources.reading import read_source
from pelton.producers.reports.spec.model import FigureMode, JobSpec, SectionSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands: the source's name, and which of its tables (from 0) it is, or -1 for text."""

    source: str
    table: int = -1


@dataclass(frozen=True)
class Excerpt:
    """Blocks of sources, in order: all that one request is about.

    Tables are numbered T1, T2, … and paragraphs P1, P2, … within the excerpt, so that what other sources hold does not
    change a prompt.
    """

    blocks: tuple[tuple[Place, Block], ...]

    @cached_property
    def grids(self) -> list[tuple[Place, Grid]]:
        return [(place, block) for place, block in self.blocks if isinstance(block, Grid)]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [block.text for _, block in self.blocks if isinstance(block, Paragraph)]

    @cached_property
    def tables(self) -> list[figures.Table]:
        """The tables with their cells, then the numbers of each paragraph as a table of their own."""
        parsed = [
            figures.parse_table(grid.rows, grid.caption, f"T{number}", context=grid.context)
            for number, (_, grid) in enumerate(self.grids, 1)
        ]
        texts = [figures.parse_text(text, f"P{number}") for number, text in enumerate(self.paragraphs, 1)]
        return [*parsed, *(table for table in texts if table.numeric)]

    @property
    def has_numbers(self) -> bool:
        return any(table.numeric for table in self.tables)

    def place_of(self, table_id: str) -> Place | None:
        """Where the table of that id comes from; None for a paragraph."""
        number = int(table_id[1:]) if table_id.startswith("T") and table_id[1:].isdecimal() else 0
        return self.grids[number - 1][0] if 0 < number <= len(self.grids) else None

    def text(self, mode: FigureMode) -> str:
        """As the prompt shows it: with cell ids where the model is to refer to them, else as plain tables."""
        if mode is FigureMode.REFERENCE:
            return "\n\n".join([*self.paragraphs, self.tables_text(mode)]).strip()
        return "\n\n".join(_plain(block) for _, block in self.blocks)

    def tables_text(self, mode: FigureMode) -> str:
        if mode is FigureMode.REFERENCE:
            return figures.prompt_view(self.tables)
        return "\n\n".join(_plain(grid) for _, grid in self.grids)

    def narrowed(self, about: str, max_chars: int) -> "Excerpt":
        """Only tables: as many as fit of those that share most words with `about`; one at least, cut if need be."""
        wanted = _words(about)
        order = sorted(range(len(self.grids)), key=lambda index: -len(wanted & _words(_plain(self.grids[index][1]))))
        kept: set[int] = set()
        size = 0
        for index in order:
            size += len(_plain(self.grids[index][1]))
            if size <= max_chars:
                kept.add(index)
        if not kept and order:
            place, grid = self.grids[order[0]]
            return Excerpt(((place, next(_row_groups(grid, max_chars))),))
        return Excerpt(tuple(block for index, block in enumerate(self.grids) if index in kept))

    def split(self, max_chars: int) -> Iterator["Excerpt"]:
        """Parts of about `max_chars` at most, cut before headings where that leaves them half full, else anywhere.

        A single block that is longer (a table is cut between rows, keeping its first; text between sentences).
        """
        part: list[tuple[Place, Block]] = []
        size = 0
        for place, block in self.blocks:
            for piece in _pieces(block, max_chars):
                length = len(_plain(piece))
                starts_new = isinstance(piece, Heading) and size > max_chars // 2
                if part and (size + length > max_chars or starts_new):
                    yield Excerpt(tuple(part))
                    part, size = [], 0
                part.append((place, piece))
                size += length
        if part:
            yield Excerpt(tuple(part))


class Materials:
    """All sources of a job, parsed. Raises `SourceUnusable`."""

    def __init__(self, job: JobSpec) -> None:
        self.documents: dict[str, Document] = {source.name: read_source(source) for source in job.sources}

    def excerpt(self, section: SectionSpec) -> Excerpt:
        """What the section's prompt is about."""
        names: Sequence[str] = section.sources if section.sources is not None else tuple(self.documents)
        return Excerpt(tuple(_placed(self.documents[name] for name in names)))


def _placed(documents: Iterable[Document]) -> Iterator[tuple[Place, Block]]:
    for document in documents:
        table = 0
        for block in document.blocks:
            if isinstance(block, Grid):
                yield Place(document.name, table), block
                table += 1
            else:
                yield Place(document.name), block


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def _plain(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    rows = [f"| {' | '.join(row)} |" for row in block.rows]
    caption = [block.caption] if block.caption else []
    return "\n".join([*caption, rows[0], "|" + " --- |" * len(block.rows[0]), *rows[1:]])


def _pieces(block: Block, max_chars: int) -> Iterator[Block]:
    if len(_plain(block)) <= max_chars:
        yield block
    elif isinstance(block, Grid):
        yield from _row_groups(block, max_chars)
    else:
        yield from (Paragraph(text) for text in _sentence_groups(block.text, max_chars))


def _row_groups(grid: Grid, max_chars: int) -> Iterator[Grid]:
    head, rest = grid.rows[0], grid.rows[1:]
    room = max(max_chars - _row_length(head), 1)
    group: list[tuple[str, ...]] = []
    size = 0
    for row in rest:
        if group and size + _row_length(row) > room:
            yield Grid((head, *group), grid.caption, grid.context)
            group, size = [], 0
        group.append(row)
        size += _row_length(row)
    yield Grid((head, *group), grid.caption, grid.context)


def _row_length(row: tuple[str, ...]) -> int:
    return sum(map(len, row)) + 3 * len(row) + 2


def _sentence_groups(text: str, max_chars: int) -> Iterator[str]:
    while len(text) > max_chars:
        cut = max(text.rfind(". ", 0, max_chars) + 1, text.rfind(" ", 0, max_chars) if ". " not in text else 0)
        cut = cut if cut > 0 else max_chars
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
