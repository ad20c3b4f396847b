"""Sentences over tables, written by code, for models that are too small to write about figures themselves.

The model chooses which of them the section has, one of each group of rows; a grammar admits nothing else. Each
sentence ties a row's label to that row's own cells, so neither a figure nor what it is said to be can be wrong.
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby, pairwise

from pelton.producers.reports import figures
from pelton.producers.reports.figures import Cell, Table
from pelton.producers.reports.spec.model import FactKind

MAX_LABEL_CHARS = 120
MAX_ROWS = 60
WORDS_GRAMMAR = r"""start: WORDS
WORDS: /[\p{L}\p{M} ,.;:!?'"()&\/-]{1,900}/
"""
"""Letters and punctuation: for sections that a small model would fill with numbers, and with signs in their place."""

_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_PERIOD_WORDS = re.compile(
    r"\b(?:years?|months?|quarters?|weeks?|periods?|ended|ending|fiscal|as (?:of|at)|at|january|february|march|april"
    r"|may|june|july|august|september|october|november|december|thousands?|millions?|billions?)\b",
    re.IGNORECASE,
)
_FOOTNOTE = re.compile(r"\s*\([0-9a-z]\)$")
_PLAIN_LABEL = re.compile(r"[^\W\d_][^\d\[\]\n\"]*")


def facts_grammar(tables: Sequence[Table], kinds: Sequence[FactKind], sentences: int) -> str | None:
    """A Lark grammar of `sentences` sentences; None where the tables give none of these kinds."""
    rows = [found for table in tables if table.id.startswith("T") for found in _of_table(table, tables, kinds)]
    if not rows:
        return None
    groups = _groups(rows[:MAX_ROWS], min(sentences, len(rows)))
    rules = [f"fact_{number}: {' | '.join(map(_literal, group))}" for number, group in enumerate(groups)]
    start = ' " " '.join(f"fact_{number}" for number in range(len(groups)))
    return "\n".join([f"start: {start}", *rules])


def _of_table(table: Table, tables: Sequence[Table], kinds: Sequence[FactKind]) -> Iterator[list[str]]:
    """The sentences of each row that has some, without those that cannot be rendered as they stand."""
    total = _total(table)
    dated = [cell for cell in table.numeric if _year(cell) and _amount(cell)]
    several = len({_measure(cell) for cell in dated}) > 1
    for _, cells in groupby(dated, key=lambda cell: (cell.row, _measure(cell))):
        row = sorted(cells, key=_year, reverse=True)
        label = _FOOTNOTE.sub("", row[0].label).strip(" :")
        if not _PLAIN_LABEL.fullmatch(label) or len(label) > MAX_LABEL_CHARS:
            continue
        if several and (measure := _measure(row[0])):
            label = f"{measure} of {label}"
        found = [text for kind in kinds for text in _sentences(kind, label[0].upper() + label[1:], row, total)]
        if sound := [text for text in found if not figures.render(text, tables).problems]:
            yield sound


def _sentences(kind: FactKind, label: str, dated: Sequence[Cell], total: Sequence[Cell]) -> Iterator[str]:
    new = dated[0]
    if kind is FactKind.LEVEL:
        yield f"{label} came to [[{new.id}]] in [[{_column(new)}]]."
    elif kind is FactKind.CHANGE and len(dated) > 1 and _year(dated[1]) != _year(new):
        old = dated[1]
        compared = (
            f"{label} came to [[{new.id}]] in [[{_column(new)}]], compared with [[{old.id}]] in [[{_column(old)}]]"
        )
        grown = f", a change of [[pct {new.id} {old.id}]]" if min(_amount(new), _amount(old)) > 0 else ""
        yield f"{compared}{grown}."
    elif kind is FactKind.SHARE:
        for whole in total:
            if whole.column == new.column and whole.row != new.row and _is_part(new, whole):
                share = f"[[share {new.id} {whole.id}]]"
                yield f"{label} made up {share} of {whole.label.strip(' :').lower()} in [[{_column(new)}]]."


def _groups(rows: Sequence[list[str]], count: int) -> list[list[str]]:
    """Neighbouring rows together, in `count` groups of about the same size."""
    edges = [len(rows) * number // count for number in range(count + 1)]
    return [[text for row in rows[start:end] for text in row] for start, end in pairwise(edges)]


def _total(table: Table) -> list[Cell]:
    return [cell for cell in table.numeric if cell.label.lower().startswith("total")]


def _is_part(part: Cell, whole: Cell) -> bool:
    same = part.quantity and whole.quantity and part.quantity.unit == whole.quantity.unit
    return bool(same) and 0 < _amount(part) < _amount(whole)


def _amount(cell: Cell) -> Decimal:
    return cell.quantity.amount if cell.quantity else Decimal(0)


def _year(cell: Cell) -> int:
    """The latest year that the column names, 0 where it names none."""
    return max(map(int, _YEAR.findall(cell.period or cell.heading)), default=0)


def _measure(cell: Cell) -> str:
    """What the column counts beside its period, where the table has a heading for that; else empty."""
    measure = cell.heading.replace(cell.period, " ") if cell.period else cell.heading
    words = " ".join(_YEAR.sub(" ", measure).split()).strip(" ,:")
    return "" if _PERIOD_WORDS.search(words) or not _PLAIN_LABEL.fullmatch(words) else words


def _column(cell: Cell) -> str:
    table, _, column = cell.id.split(".")
    return f"{table}.{column}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
