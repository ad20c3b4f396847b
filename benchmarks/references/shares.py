"""What a set of answers is worth: shares of right cells, rows and columns, beside those of a blind choice."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from benchmarks.references.asked import Asked
from pelton.producers.reports.figures import render

_Z = 1.96  # of a confidence of 95 %
RIGHT = ("cell", "row", "column")


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `of`, and what a choice among all cells with equal chances would be expected to get right."""

    right: int
    of: int
    chance: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval, which also holds at the ends. Answers over one table are taken as independent."""
        if not self.of:
            return 0.0, 1.0
        share, n = self.right / self.of, self.of
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)


def shares(asked: Sequence[Asked], texts: Iterable[str]) -> dict[str, Share]:
    """Of the answers with a figure: those whose first one is the cell asked for, of its row, of its column.

    A computed figure is none of these: a cell was asked for.
    """
    right: Counter[str] = Counter()
    chances: Counter[str] = Counter()
    answered = 0
    for question, text in zip(asked, texts, strict=True):
        figures = [figure for figure in render(text, [question.table]).figures if figure.operation != "period"]
        if not figures:
            continue
        answered += 1
        for name, chance in _chances(question).items():
            chances[name] += chance
        chosen = {cell.id: cell for cell in question.table.cells}[figures[0].sources[0].id]
        if figures[0].operation == "value":
            right["cell"] += chosen.id == question.cell.id
            right["row"] += chosen.row == question.cell.row
            right["column"] += chosen.column == question.cell.column
    return {name: Share(right[name], answered, chances[name] / answered if answered else 0.0) for name in RIGHT}


def _chances(question: Asked) -> dict[str, float]:
    cells = question.table.numeric
    in_row = sum(cell.row == question.cell.row for cell in cells)
    in_column = sum(cell.column == question.cell.column for cell in cells)
    return {"cell": 1 / len(cells), "row": in_row / len(cells), "column": in_column / len(cells)}
