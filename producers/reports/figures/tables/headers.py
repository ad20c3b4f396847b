"""Which rows of a grid are headers, and what they say above each column."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pelton.producers.reports.figures.lexing.periods import mentions
from pelton.producers.reports.figures.quantity import PERCENT
from pelton.producers.reports.figures.tables.declared import declared

Row = list[str]

_CHANGE = re.compile(r"\b(?:change|variance|growth|increase|decrease|var\.?|diff\w*)\b", re.IGNORECASE)
_UNFINISHED = re.compile(r"\b(?:of|at|to|for|from|and|in|the|by)$", re.IGNORECASE)
_NOTHING = re.compile(r"[\s\-\u2010-\u2015\u2212$€£%.*]*|none|nil|n/?[am]\.?|not applicable", re.IGNORECASE)
_LONGEST_DECLARATION = 60


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows under the same headers. `start` and `body` are row indexes: the headers are between them."""

    start: int
    body: int
    headings: tuple[str, ...]


def blocks(grid: list[Row], is_amount: Callable[[str], bool]) -> list[Block]:
    """The parts of a grid, each with its own headers; a table usually has one."""
    body = _first_body_row(grid, is_amount)
    found = [_block(grid, 0, body)]
    index = body
    while index < len(grid):
        stop = index
        while stop < len(grid) and _is_header_like(grid[stop], is_amount):
            stop += 1
        if stop > index and stop < len(grid) and any(_filled(row) > 1 for row in grid[index:stop]):
            found.append(_block(grid, index, stop))
        index = max(stop, index + 1)
    return found


def about_all(rows: list[Row], caption: str) -> str:
    """The header texts that stand over the whole table: the corner, rows with one text, the caption."""
    parts = [caption]
    for row in rows:
        parts += row[:1]
        if _filled(row) == 1 and not row[0]:
            parts += [text for text in row if text and declared(text, weak=False).unit != PERCENT]
    return " ".join(part for part in parts if part)


def is_lone_label(row: Row) -> bool:
    return bool(row) and bool(row[0]) and not any(row[1:])


def lone_text(row: Row, is_amount: Callable[[str], bool]) -> str:
    """The text of a row that has only one and no amount: a group's label, wherever it stands."""
    filled = [text for text in row if text]
    return filled[0] if len(filled) == 1 and not is_amount(filled[0]) and not _NOTHING.fullmatch(filled[0]) else ""


def _filled(row: Row) -> int:
    return sum(1 for text in row if text)


def _is_header_like(row: Row, is_amount: Callable[[str], bool]) -> bool:
    if not row or not any(row):
        return False
    if row[0] and sum(1 for text in row[1:] if mentions(text)) < 2:  # noqa: PLR2004  # one date may be a datum
        return False
    return not any(is_amount(text) or _NOTHING.fullmatch(text) for text in row if text)


def _first_body_row(grid: list[Row], is_amount: Callable[[str], bool]) -> int:
    """How many leading rows have no amounts: titles, periods, units."""
    for index, row in enumerate(grid):
        if any(is_amount(text) for text in row[1:]):
            return index
        headed = any(_filled(above[1:]) for above in grid[:index])
        if headed and is_lone_label(row) and not _is_declaration(row[0]):
            return index  # it opens the first group
        if headed and row[0] and any(row[1:]) and all(_NOTHING.fullmatch(text) for text in row[1:]):
            return index  # a row of dashes
        if _opens_group(row, grid[:index]):
            return index
    return min(len(grid), 1)


def _opens_group(row: Row, above: list[Row]) -> bool:
    """Whether one text in the middle, under column headers, is a group's label rather than one more header."""
    text = "" if not row or row[0] else "".join(row[1:])
    if _filled(row) != 1 or not text or mentions(text) or _is_declaration(text):
        return False
    return any(sum(1 for cell in head[1:] if mentions(cell)) > 1 for head in above)


def _is_declaration(text: str) -> bool:
    said = declared(text, weak=False)
    return len(text) <= _LONGEST_DECLARATION and (said.scale is not None or bool(said.unit))


def _block(grid: list[Row], start: int, body: int) -> Block:
    width = len(grid[0]) if grid else 0
    rows = grid[start:body]
    return Block(start, body, tuple(_heading(rows, column, width) for column in range(width)))


def _heading(rows: list[Row], column: int, width: int) -> str:
    """The header texts above a column; a header over several columns stands over its first or middle one."""
    if column == 0:
        return " ".join(row[0] for row in rows if row[0])
    own = [" ".join(row[place] for row in rows if row[place]) for place in range(width)]
    parts = [row[column] or _spanning(row, column, own) for row in rows]
    corner = [row[0] for row in rows if row[0] and mentions(row[0])]
    joined = " ".join(part for part in parts if part)
    if corner and not any(mention.period.year for mention in mentions(joined)):
        joined = " ".join((*corner, joined))
    return joined.strip()


def _spanning(row: Row, column: int, owns: list[str]) -> str:
    """The text of another column's header that stands over this one as well. `owns`: all texts of each column."""
    width, own = len(owns), owns[column]
    filled = [place for place in range(1, width) if row[place]]
    if not filled or (len(filled) > 1 and len(filled) * 2 > width - 1):
        return ""
    before = [place for place in filled if place <= column]
    text = row[before[-1]] if before else row[filled[0]] if len(filled) == 1 else ""
    if _UNFINISHED.search(text):
        return ""
    is_comparison = _CHANGE.search(text) or declared(text, weak=False).unit == PERCENT
    if is_comparison and (not before or (mentions(own) and not mentions(owns[before[-1]]))):
        return ""
    return "" if mentions(text) and _CHANGE.search(own) else text
