"""Infers the scale of a table that states none, from prose that tells its numbers with their scale."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice

from pelton.producers.reports.figures.lexing.lexer import Number, scan
from pelton.producers.reports.figures.model import Cell, Table
from pelton.producers.reports.figures.quantity import Quantity

_SCALES = (3, 6, 9)
_TELLING_DIGITS = 3  # "$757.3 million" tells which of 757,312 it means, "$8 million" does not
_MAX_NUMBERS = 300


def with_inferred_scales(tables: Sequence[Table], paragraphs: Sequence[str]) -> list[Table]:
    """Tables whose scale is not stated take the one by which the prose tells their cells, if all of it agrees."""
    open_tables = [table for table in tables if any(_is_open(cell) for cell in table.numeric)]
    if not open_tables:
        return list(tables)
    numbers = (number for paragraph in paragraphs for number in scan(paragraph).amounts)
    told = list(islice(filter(_is_telling, numbers), _MAX_NUMBERS))
    return [_scaled(table, told) for table in tables]


def _is_open(cell: Cell) -> bool:
    quantity = cell.quantity
    return quantity is not None and not quantity.scale_known and not quantity.is_rate


def _is_telling(number: Number) -> bool:
    digits = str(abs(number.quantity.value)).replace(".", "").strip("0")
    return number.quantity.scale_known and number.quantity.scale > 0 and len(digits) >= _TELLING_DIGITS


def _scaled(table: Table, told: Iterable[Number]) -> Table:
    open_cells = [cell for cell in table.numeric if _is_open(cell)]
    votes = {
        scale for number in told for cell in open_cells for scale in _SCALES if _tells(number, cell.quantity, scale)
    }
    if len(votes) != 1:
        return table
    scale = votes.pop()
    return replace(table, cells=tuple(_with(cell, scale) if _is_open(cell) else cell for cell in table.cells))


def _with(cell: Cell, scale: int) -> Cell:
    if cell.quantity is None:
        return cell
    return replace(cell, quantity=replace(cell.quantity, scale=scale, scale_known=True))


def _tells(number: Number, quantity: Quantity | None, scale: int) -> bool:
    """Whether the number is the cell's at that scale, rounded to what the prose writes."""
    if quantity is None or not quantity.value:
        return False
    stated = abs(number.quantity.amount)
    half = Decimal("0.5").scaleb(number.quantity.scale - number.quantity.decimals)
    return abs(stated - abs(quantity.value.scaleb(scale))) <= half
