"""Grammars that admit prose without digits and references to what exists, and nothing else."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from pelton.producers.reports.figures.by_reference.operations import (
    ARITY,
    AVERAGE,
    DIFFERENCE,
    PERCENT_CHANGE,
    RATIO,
    SHARE,
    SUM,
    group_of,
)
from pelton.producers.reports.figures.by_reference.references import is_two_way
from pelton.producers.reports.figures.model import Cell, Table

# Any character that is no number in any script, no bracket and no control character but a line's end and tab.
_PROSE = r"PROSE: /[^\p{N}\[\]\x00-\x08\x0b-\x1f]+/"


def reference_grammar(tables: Sequence[Table]) -> str:
    """A Lark grammar as llguidance reads it.

    Cells that can be computed with each other (one unit, nonzero divisors, percent changes without a change
    of sign) are grouped, so that a text of this grammar renders without a problem.

    Raises:
        ValueError: no table has a number: there is nothing to write about.

    """
    cells = [cell for table in tables for cell in table.numeric]
    if not cells:
        raise ValueError("no table has a numeric cell: a text by reference needs at least one")
    rules = ["start: PROSE? (reference PROSE?)*", 'reference: "[[" body "]]"', _PROSE]
    bodies = ["ANY_CELL"]
    rules.append(f"ANY_CELL: {_alternatives(cell.id for cell in cells)}")
    columns = [f"{table.id}.c{column}" for table in tables for column in _named_columns(table)]
    if columns:
        bodies.append("COLUMN")
        rules.append(f"COLUMN: {_alternatives(columns)}")
    for number, group in enumerate(_groups(cells)):
        bodies.append(f"on_{number}")
        rules += _operations(number, group)
    rules.append("body: " + " | ".join(bodies))
    return "\n".join(rules) + "\n"


def reference_regex(tables: Sequence[Table]) -> str:
    """The same as a regular expression: existing cells and right arity; units are left to `render`."""
    names = "|".join(cell.id.replace(".", r"\.") for table in tables for cell in table.numeric)
    if not names:
        raise ValueError("no table has a numeric cell: a text by reference needs at least one")
    columns = "|".join(rf"{table.id}\.c{column}" for table in tables for column in _named_columns(table))
    cell = f"(?:{names})"
    pair = f"(?:{DIFFERENCE}|{PERCENT_CHANGE}|{RATIO}|{SHARE})(?: {cell}){{2}}"
    many = f"(?:{SUM}|{AVERAGE})(?: {cell}){{2,{ARITY[SUM][1]}}}"
    body = "|".join(part for part in (cell, columns, pair, many) if part)
    return rf"(?:[^0-9\[\]]|\[\[(?:{body})\]\])*"


def _named_columns(table: Table) -> list[int]:
    return [column for column, heading in enumerate(table.headings, start=1) if column > 1 and heading]


def _groups(cells: Iterable[Cell]) -> list[list[Cell]]:
    def key(cell: Cell) -> tuple[str, bool]:
        return group_of(cell.quantity) if cell.quantity else ("", False)

    return [list(group) for _, group in groupby(sorted(cells, key=key), key=key)]


def _operations(number: int, group: list[Cell]) -> list[str]:
    """The rules of one group: `some` cells, those above and below zero."""
    above = [cell.id for cell in group if cell.quantity and cell.quantity.value > 0]
    below = [cell.id for cell in group if cell.quantity and cell.quantity.value < 0]
    some = f"SOME_{number}"
    rules = [f"{some}: {_alternatives(cell.id for cell in group)}"]
    most = ARITY[SUM][1] - 1
    forms = [
        f'"{SUM} " {some} (" " {some}){{1,{most}}}',
        f'"{AVERAGE} " {some} (" " {some}){{1,{most}}}',
        f'"{DIFFERENCE} " {some} " " {some}',
    ]
    divisors = []
    for name, ids in ((f"ABOVE_{number}", above), (f"BELOW_{number}", below)):
        if ids:
            rules.append(f"{name}: {_alternatives(ids)}")
            divisors.append(name)
    if above:
        forms.append(f'"{PERCENT_CHANGE} " ABOVE_{number} " " ABOVE_{number}')
    spent = [cell.id for cell in group if cell.id in below and not is_two_way(cell)]
    if spent:
        rules.append(f"SPENT_{number}: {_alternatives(spent)}")
        forms.append(f'"{PERCENT_CHANGE} " SPENT_{number} " " SPENT_{number}')
    if divisors:
        divisor = f"({' | '.join(divisors)})"
        forms += [f'"{RATIO} " {some} " " {divisor}', f'"{SHARE} " {some} " " {divisor}']
    rules.append(f"on_{number}: " + " | ".join(forms))
    return rules


def _alternatives(names: Iterable[str]) -> str:
    return " | ".join(f'"{name}"' for name in names)
