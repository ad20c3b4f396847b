"""Reads a grid of strings into a table: headers, row labels, periods, and the exact quantity of each cell."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pelton.producers.reports.figures.lexing.lexer import AMOUNT, NAME, Number, scan
from pelton.producers.reports.figures.lexing.periods import mentions
from pelton.producers.reports.figures.model import Cell, Table
from pelton.producers.reports.figures.quantity import PER_SHARE, PERCENT, Quantity, is_money
from pelton.producers.reports.figures.tables import headers
from pelton.producers.reports.figures.tables.column_units import with_column_units
from pelton.producers.reports.figures.tables.declared import Declared, declared, named_scales

_SPACE = re.compile(r"\s+")
_FOOTNOTE = re.compile(r"\s*(?:\(\d{1,2}\)|\*+|\(\w\))\s*$")
_NOT_IN_A_NUMBER = re.compile(r"[A-Za-z]{3,}")
# What a cell may hold beside its number.
_SIGNS = r"[\s()$€£¥%`'\u2019*†‡\u2010-\u2015\u2212+\-.,:;]*"
_FRAME = re.compile(rf"{_SIGNS}(?:US|A|C|HK|S|NZ)?{_SIGNS}")
_LONGEST_LABEL = 300
_MOSTLY = 0.8
_NOTES = re.compile(r"notes?|ref\.?|footnotes?|note\s(?:no\.?|ref\.?)", re.IGNORECASE)
_DURATIONS = frozenset({"weeks", "days", "months", "years"})


def parse_table(rows: Sequence[Sequence[str]], caption: str = "", id: str = "T1", *, context: str = "") -> Table:  # noqa: A002  # its name in every reference
    """Parse a rectangular or ragged grid; never raises on its content.

    Args:
        rows: the cells as strings; the first column usually has the row labels.
        caption: the table's title; read for scale and currency as well ("in thousands").
        id: what references call it: `T1`.
        context: text around the table, read only for such declarations.

    """
    grid = [[_clean(text) for text in row] for row in rows]
    width = max((len(row) for row in grid), default=0)
    grid = [row + [""] * (width - len(row)) for row in grid]
    parts = headers.blocks(grid, _is_amount_cell)
    first = parts[0]
    ground = declared(headers.about_all(grid[: first.body], caption), weak=False).over(declared(context, weak=True))
    labels = _label_columns(grid[first.body :])
    named = named_scales(f"{caption} {context}")
    cells: list[Cell] = []
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        stop = following.start if following else len(grid)
        group = ""
        for index in range(part.start, stop):
            is_header = index < part.body
            group = group if is_header else _group(grid[index], group)
            cells += _row_cells(
                _Place(id, index, group, part.headings, ground, labels, named, is_header=is_header), grid[index]
            )
    return Table(id, caption, tuple(with_column_units(cells)), first.headings)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a row's cells have in common."""

    table: str
    row: int
    group: str
    headings: tuple[str, ...]
    ground: Declared
    labels: int
    named: tuple[tuple[str, int], ...]
    is_header: bool


def _row_cells(place: _Place, row: list[str]) -> list[Cell]:
    own = "" if place.is_header else " — ".join(text for text in row[: place.labels] if text)
    label = " — ".join(part for part in (place.group if place.group != own else "", own) if part)
    said = declared(own, weak=False).over(declared(place.group, weak=False))
    cells = []
    for column, text in enumerate(row):
        if not text:
            continue
        heading = place.headings[column]
        quantity = None
        is_label = 0 < column < place.labels or _NOTES.fullmatch(heading)
        if not place.is_header and not is_label and (column > 0 or _is_bare_number(text)):
            quantity = cell_quantity(text, _near(said, declared(heading, weak=False)), _ground(place, own))
        cells.append(
            Cell(
                f"{place.table}.r{place.row + 1}.c{column + 1}",
                place.row + 1,
                column + 1,
                text,
                label if column >= place.labels else "",
                heading,
                _period(heading) or _period(label),
                quantity,
            )
        )
    return cells


def _near(row: Declared, column: Declared) -> Declared:
    """What row and column say: the row counts, but not where its column is one of percents."""
    return column if column.unit == PERCENT else row.over(column)


def _ground(place: _Place, label: str) -> Declared:
    """What stands over the table, with the scale that it gives the things that the label names."""
    scale = next((scale for noun, scale in place.named if noun in label.lower()), None)
    return place.ground if scale is None else replace(place.ground, scale=scale, unit="")


def cell_quantity(text: str, near: Declared, ground: Declared) -> Quantity | None:
    """The number that a cell consists of, with scale and unit from its headers; None where it is no number."""
    if not any(character.isdigit() for character in text):
        return None
    numbers = [number for number in _numbers(text) if number.kind in {AMOUNT, NAME}]
    if len(numbers) != 1 or not _is_alone(text, numbers[0]):
        return None
    quantity = numbers[0].quantity
    if text.strip().startswith("(") and numbers[0].kind == NAME and quantity.value > 0:
        quantity = replace(quantity, value=-quantity.value)
    return _with_headers(quantity, near, ground)


def _with_headers(quantity: Quantity, near: Declared, ground: Declared) -> Quantity:
    unit = quantity.unit or near.unit or ("" if near.noun else ground.unit)
    if near.per_share and is_money(unit) and PER_SHARE not in unit:
        unit += PER_SHARE
    if quantity.scale_known:
        return replace(quantity, unit=unit)
    if unit == PERCENT or quantity.is_rate or near.unscaled or near.per_share:
        return replace(quantity, unit=unit, scale_known=True)
    shares = near.share_scale if near.share_scale is not None else ground.share_scale
    scale = near.scale if near.scale is not None else ground.scale
    if near.shares and shares is not None and not is_money(quantity.unit):
        scale, unit = shares, quantity.unit
    if scale is None:
        return replace(quantity, unit=unit)
    return replace(quantity, unit=unit, scale=scale, scale_known=True)


def _numbers(text: str) -> list[Number]:
    found = scan(text)
    if found.numbers:
        return list(found.numbers)
    bare = text.strip()
    if bare.isdecimal():  # a bare "2019" below the headers is an amount
        return [Number(bare, 0, len(text), AMOUNT, Quantity(Decimal(bare)))]
    return []


def _is_alone(text: str, number: Number) -> bool:
    rest = text[: number.start] + " " + text[number.end :]
    return _FRAME.fullmatch(_FOOTNOTE.sub("", rest)) is not None


def _is_bare_number(text: str) -> bool:
    return not _NOT_IN_A_NUMBER.search(text) and not mentions(text)


def _is_amount_cell(text: str) -> bool:
    if not any(character.isdigit() for character in text) or mentions(text):
        return False
    numbers = scan(text).numbers
    if len(numbers) == 1 and numbers[0].quantity.unit in _DURATIONS:  # "53 weeks" is a header
        return False
    return len(numbers) == 1 and _is_alone(text, numbers[0]) and not declared(text, weak=False).only


def _label_columns(body: list[list[str]]) -> int:
    """How many columns at the left hold words in most rows, where numbers follow: "Segment", "Measure"."""
    width = len(body[0]) if body else 0
    count = 1
    while count < width - 1:
        texts = [row[count] for row in body if any(row)]
        words = [text for text in texts if _NOT_IN_A_NUMBER.search(text) and not _is_amount_cell(text)]
        if len(words) < len(texts) * _MOSTLY or len(words) < 2 or any(map(_is_amount_cell, texts)):  # noqa: PLR2004  # one may be a remark
            break
        count += 1
    follows = any(_is_amount_cell(text) for row in body for text in row[count:])
    return count if follows else 1


def _group(row: list[str], current: str) -> str:
    """A row with nothing but a label opens a group; an empty row closes it."""
    if not any(row):
        return ""
    label = headers.lone_text(row, _is_amount_cell)
    return label.rstrip(": ")[:_LONGEST_LABEL] if label else current


def _period(text: str) -> str:
    found = mentions(text)
    return text[found[0].start : found[-1].end] if found else ""


def _clean(text: str) -> str:
    return _SPACE.sub(" ", str(text)).strip()
