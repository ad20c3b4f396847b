"""How a model sees tables: every numeric cell with its id, under row labels and column headings."""

from collections.abc import Sequence

from pelton.producers.reports.figures.by_reference.formatting import written
from pelton.producers.reports.figures.by_reference.references import column_heading
from pelton.producers.reports.figures.model import Cell, Table

_LONGEST = 200


def prompt_view(tables: Sequence[Table]) -> str:
    """One line for each row: label, then `id = value` for each number. Headings come first, with their ids."""
    return "\n\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    lines = [f"Table {table.id}" + (f": {_short(table.caption)}" if table.caption else "")]
    columns = [
        f"{table.id}.c{column} = {_short(column_heading(table, column))}"
        for column, heading in enumerate(table.headings, start=1)
        if column > 1 and heading
    ]
    if columns:
        lines.append("Columns: " + "; ".join(columns))
    rows: dict[int, list[Cell]] = {}
    for cell in table.numeric:
        rows.setdefault(cell.row, []).append(cell)
    lines += [f"- {_short(cells[0].label) or 'row'}: " + ", ".join(map(_cell, cells)) for cells in rows.values()]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    value = written(cell.quantity) if cell.quantity else cell.text
    return f"{cell.id} = {value}" + (f" ({_short(cell.period)})" if cell.period else "")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"
