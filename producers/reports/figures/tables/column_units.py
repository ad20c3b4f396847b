"""Carries signs down their columns: accounts write "$" and "%" on the first line and on totals only."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pelton.producers.reports.figures.model import Cell
from pelton.producers.reports.figures.quantity import PER_SHARE, PERCENT, PLAIN

_NO_MONEY = re.compile(
    r"\b(?:number|no\.|shares?|employees|headcount|ratio|percent\w*|rate|margin|days|weeks|months|years|units|volume|"
    r"tonnes|barrels|customers|stores|vessels|multiple|times|options|rights|warrants|rsus?|psus?)\b|%|#|\(x\)",
    re.IGNORECASE,
)


_RATE = re.compile(r"\b(?:ratio|margin|rate|yield|return|growth|occupancy|roe|roa|roce|churn)\b", re.IGNORECASE)
_BARE = re.compile(r"[\s\d.,()\-\u2010-\u2015\u2212]+")


def with_column_units(cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a unit take the one above them, then the currency of their row, unless headers speak of counts."""
    percents = _between_percents(cells)
    by_column = _currencies(percents, key=lambda cell: cell.column)
    rows = {cell.row: cell.quantity.unit for cell in reversed(by_column) if cell.quantity and cell.quantity.is_money}
    return _currencies(by_column, key=lambda cell: cell.row, seen=rows, only_with_period=True)


def _between_percents(cells: Sequence[Cell]) -> list[Cell]:
    """A bare number between two percentages of its column is one itself, whatever the table says of money."""
    above: dict[int, str] = {}
    waiting: dict[int, list[int]] = {}
    filled = list(cells)
    for index, cell in enumerate(cells):
        if cell.quantity is None:
            continue
        may_be = cell.quantity.unit == PLAIN or (_BARE.fullmatch(cell.text) and _RATE.search(cell.label))
        if may_be and above.get(cell.column) == PERCENT:
            waiting.setdefault(cell.column, []).append(index)
        elif cell.quantity.unit != PLAIN:
            between = waiting.pop(cell.column, [])
            for place in between if cell.quantity.unit == PERCENT else ():
                filled[place] = _as_percent(filled[place])
            above[cell.column] = cell.quantity.unit
    return filled


def _as_percent(cell: Cell) -> Cell:
    if cell.quantity is None:
        return cell
    return replace(cell, quantity=replace(cell.quantity, unit=PERCENT, scale=0, scale_known=True))


def _currencies(
    cells: Sequence[Cell],
    *,
    key: Callable[[Cell], int],
    seen: dict[int, str] | None = None,
    only_with_period: bool = False,
) -> list[Cell]:
    seen = dict(seen or {})
    carried = []
    for cell in cells:
        quantity = cell.quantity
        taken = cell
        if quantity is not None and quantity.is_money:
            seen[key(cell)] = quantity.unit
        elif quantity is not None and quantity.unit == PLAIN and not _NO_MONEY.search(f"{cell.label} {cell.heading}"):
            currency = seen.get(key(cell), PLAIN)
            if currency and PER_SHARE not in currency and (cell.period or not only_with_period):
                taken = replace(cell, quantity=replace(quantity, unit=currency))
        carried.append(taken)
    return carried
