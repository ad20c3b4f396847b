"""Reads references: `[[T1.r3.c2]]`, `[[pct T1.r3.c2 T1.r3.c1]]`, and `[[T1.c2]]` for a column's period."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pelton.producers.reports.figures.by_reference.formatting import written
from pelton.producers.reports.figures.by_reference.operations import (
    ARITY,
    PERCENT_CHANGE,
    VALUE,
    Computed,
    Impossible,
    compute,
)
from pelton.producers.reports.figures.lexing.lexicon import SPENT
from pelton.producers.reports.figures.model import Cell, Source, Table

PERIOD = "period"
# No bracket inside, and a bound on the length: the time stays linear on text that only opens brackets.
REFERENCE = re.compile(r"\[\[([^\[\]]{0,300})\]\]")
_CELL = re.compile(r"[A-Z]\d{1,6}\.r\d{1,7}\.c\d{1,5}")
_SPENT = re.compile(SPENT, re.IGNORECASE)
_COLUMN = re.compile(r"([A-Z]\d{1,6})\.c(\d{1,5})")

REFERENCE_HELP = """\
Write no digits. Every figure is a reference to a cell, in double square brackets; the report computes and prints it:
[[T1.r3.c2]] the cell's value with its unit; [[T1.c2]] the period or heading of a column, such as a year;
[[sum A B C]] the sum of cells; [[diff A B]] A minus B; [[pct A B]] the percent change from B to A (later period first);
[[ratio A B]] A divided by B; [[avg A B]] the average; [[share A B]] A as a percentage of B.
Do not write the unit or scale beside a reference: it is printed with the figure."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A reference that could be computed."""

    operation: str
    computed: Computed | None
    text: str
    cells: tuple[Cell, ...]
    sources: tuple[Source, ...]


class Resolver:
    """Looks references up in tables. Raises `Impossible` with the kind of problem."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._cells = {cell.id: cell for table in tables for cell in table.cells}
        self._tables = {table.id: table for table in tables}

    def resolve(self, body: str) -> Resolved:
        words = body.split()
        if not words:
            raise Impossible("syntax", "an empty reference")
        column = _COLUMN.fullmatch(words[0])
        if column and len(words) == 1:
            return self._period(column.group(1), int(column.group(2)))
        operation, ids = (words[0], words[1:]) if words[0] in ARITY else (VALUE, words)
        if not all(_CELL.fullmatch(word) for word in ids):
            kind = "syntax" if _CELL.fullmatch(words[0]) or words[0] in ARITY else "unknown_operation"
            raise Impossible(kind, f"not a reference: {body[:80]}")
        cells = tuple(self._cell(name) for name in ids)
        quantities = [cell.quantity for cell in cells if cell.quantity is not None]
        if operation == PERCENT_CHANGE and any(map(is_two_way, cells)):
            raise Impossible("negative_base", "a percent change of negative amounts reads two ways: use diff")
        computed = compute(operation, quantities, [_in_formula(cell) for cell in cells])
        return Resolved(operation, computed, written(computed.quantity), cells, tuple(map(source_of, cells)))

    def _cell(self, name: str) -> Cell:
        cell = self._cells.get(name)
        if cell is None:
            raise Impossible("unknown_cell", f"there is no cell {name}")
        if cell.quantity is None:
            raise Impossible("not_a_number", f"{name} is no number: {cell.text[:60]}")
        return cell

    def _period(self, name: str, column: int) -> Resolved:
        table = self._tables.get(name)
        if table is None or not 1 <= column <= len(table.headings) or not table.headings[column - 1]:
            raise Impossible("unknown_cell", f"there is no column {name}.c{column} with a heading")
        heading = column_heading(table, column)
        return Resolved(PERIOD, None, heading, (), (Source(f"{name}.c{column}", table.headings[column - 1]),))


def is_two_way(cell: Cell) -> bool:
    """Whether a percent change of a negative cell reads two ways; costs and losses are told without a minus."""
    return cell.quantity is not None and cell.quantity.value < 0 and not _SPENT.search(cell.label)


def column_heading(table: Table, column: int) -> str:
    """What `[[T1.c2]]` prints: the column's period, else its heading."""
    return next(
        (
            cell.period
            for cell in table.numeric
            if cell.column == column and cell.period and cell.period in cell.heading
        ),
        table.headings[column - 1],
    )


def source_of(cell: Cell) -> Source:
    return Source(cell.id, cell.text, cell.label, cell.period or cell.heading)


def _in_formula(cell: Cell) -> str:
    if cell.quantity is None:
        raise Impossible("not_a_number", f"{cell.id} is no number")
    return written(cell.quantity)


def references(text: str) -> Iterator[re.Match[str]]:
    return REFERENCE.finditer(text)
