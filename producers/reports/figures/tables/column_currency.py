"""Carries a currency sign down its column: accounts write it on the first line and on totals only."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pelton.producers.reports.figures.model import Cell
from pelton.producers.reports.figures.quantity import PER_SHARE, PLAIN

_NO_MONEY = re.compile(
    r"\b(?:number|no\.|shares?|employees|headcount|ratio|percent\w*|rate|margin|days|weeks|months|years|units|volume|"
    r"tonnes|barrels|customers|stores|vessels|multiple|times|options|rights|warrants|rsus?|psus?)\b|%|#|\(x\)",
    re.IGNORECASE,
)


def with_column_currency(cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a unit take the currency above them, then of their row, unless headers speak of counts."""
    return _along(_along(cells, key=lambda cell: cell.column), key=lambda cell: cell.row, same_rank=True)


def _along(cells: Sequence[Cell], *, key: Callable[[Cell], int], same_rank: bool = False) -> list[Cell]:
    seen: dict[int, str] = {}
    if same_rank:
        seen = {cell.row: cell.quantity.unit for cell in reversed(cells) if cell.quantity and cell.quantity.is_money}
    carried = []
    for cell in cells:
        quantity = cell.quantity
        if quantity is not None and quantity.is_money and PER_SHARE not in quantity.unit:
            seen[key(cell)] = quantity.unit
        elif quantity is not None and quantity.unit == PLAIN and not _NO_MONEY.search(f"{cell.label} {cell.heading}"):
            currency = seen.get(key(cell), PLAIN)
            if currency and PER_SHARE not in currency and not (same_rank and not cell.period):
                cell = replace(cell, quantity=replace(quantity, unit=currency))  # noqa: PLW2901  # the same cell, with its unit
        carried.append(cell)
    return carried
