"""A table as a bar chart: inline SVG that has its colours from the page's style sheet, and no script."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from markupsafe import Markup, escape

from pelton.producers.reports.figures import Cell, parse_table
from pelton.producers.reports.figures.quantity import SCALE_WORDS

MAX_ROWS = 6
"""Those with the largest numbers, in the table's order."""
MAX_SERIES = 3
_WIDTH = 480
_BAR = 16
_GAP = 14
_LABEL = 18
_LEGEND = 26
_VALUE_ROOM = 90  # beside the longest bar, on each side that has bars


@dataclass(frozen=True, slots=True)
class Bars:
    """A row of the table: its label, and the cell of each series (None where it has none)."""

    label: str
    cells: tuple[Cell | None, ...]


def bar_chart(rows: Sequence[Sequence[str]], caption: str) -> Markup | None:
    """None where the table has nothing to compare: it takes two rows of numbers that count the same."""
    table = parse_table(rows, caption)
    unit = _commonest([cell.quantity.unit for cell in table.numeric if cell.quantity])
    cells = [cell for cell in table.numeric if cell.quantity and cell.quantity.unit == unit]
    columns = sorted({cell.column for cell in cells})[:MAX_SERIES]
    by_row: dict[int, dict[int, Cell]] = {}
    for cell in cells:
        if cell.column in columns:
            by_row.setdefault(cell.row, {})[cell.column] = cell
    bars = [
        Bars(next(iter(found.values())).label, tuple(found.get(column) for column in columns))
        for _, found in sorted(by_row.items())
    ]
    tallest = sorted(bars, key=_height, reverse=True)[:MAX_ROWS]
    bars = [row for row in bars if row in tallest and _height(row)]
    if len(bars) < 2:  # noqa: PLR2004  # one bar shows nothing
        return None
    names = [_heading(table.headings, cells, column) for column in columns]
    return _drawn(bars, names, _counted(cells), caption or "Chart")


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where zero is, and how many units of the drawing an amount of one takes."""

    zero: float
    scale: float


def _axis(bars: Sequence[Bars]) -> _Axis:
    amounts = [_amount(cell) for row in bars for cell in row.cells if cell]
    above, below = max(*amounts, Decimal(0)), max(*(-amount for amount in amounts), Decimal(0))
    room = _WIDTH - _VALUE_ROOM * (bool(above) + bool(below))
    scale = room / float(above + below)
    return _Axis(_VALUE_ROOM + float(below) * scale if below else 0.0, scale)


def _drawn(bars: Sequence[Bars], names: Sequence[str], counted: str, title: str) -> Markup:
    axis = _axis(bars)
    shapes: list[str] = []
    y = 0
    if counted:
        shapes.append(f'<text class="value" x="0" y="13">{escape(counted)}</text>')
        y += _LABEL
    for series, name in enumerate(names):
        x = series * (_WIDTH // MAX_SERIES)
        shapes.append(f'<rect class="s{series}" x="{x}" y="{y + 2}" width="12" height="12" rx="2"/>')
        shapes.append(f'<text x="{x + 18}" y="{y + 13}">{escape(_cut(name, 22))}</text>')
    y += _LEGEND
    for row in bars:
        shapes.append(f'<text class="label" x="0" y="{y + 13}">{escape(_cut(row.label, 64))}</text>')
        y += _LABEL
        top = y
        for series, cell in enumerate(row.cells):
            if cell is not None:
                shapes.append(_bar(cell, axis, series, y))
                y += _BAR
        if axis.zero:
            x = f"{axis.zero:.1f}"
            shapes.append(f'<line class="zero" x1="{x}" y1="{top - 2}" x2="{x}" y2="{y - 1}"/>')
        y += _GAP
    said = "; ".join(f"{row.label}: {', '.join(cell.text for cell in row.cells if cell)}" for row in bars)
    return Markup(  # noqa: S704  # all that is not ours is escaped
        f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH} {y}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(_cut(title, 200))}</title><desc>{escape(said)}</desc>{''.join(shapes)}</svg>"
    )


def _bar(cell: Cell, axis: _Axis, series: int, y: int) -> str:
    """A bar to the right of zero, or to its left for what is negative, with its value at its end."""
    width = max(1.0, abs(float(_amount(cell))) * axis.scale)
    is_negative = _amount(cell) < 0
    x = axis.zero - width if is_negative else axis.zero
    at, anchor = (x - 6, ' text-anchor="end"') if is_negative else (x + width + 6, "")
    return (
        f'<rect class="s{series}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR - 3}" rx="2"/>'
        f'<text class="value" x="{at:.1f}" y="{y + 11}"{anchor}>{escape(_cut(cell.text, 16))}</text>'
    )


def _height(row: Bars) -> Decimal:
    return max((abs(_amount(cell)) for cell in row.cells if cell), default=Decimal(0))


def _amount(cell: Cell) -> Decimal:
    return cell.quantity.amount if cell.quantity else Decimal(0)


def _counted(cells: Sequence[Cell]) -> str:
    """What the numbers count, where it is the same for all: "EUR million"."""
    units = {(cell.quantity.unit, cell.quantity.scale) for cell in cells if cell.quantity}
    unit, scale = units.pop() if len(units) == 1 else ("", 0)
    return " ".join(part for part in (unit, SCALE_WORDS.get(scale, "")) if part)


def _heading(headings: Sequence[str], cells: Sequence[Cell], column: int) -> str:
    heading = next((cell.period or cell.heading for cell in cells if cell.column == column), "")
    return heading or (headings[column - 1] if 0 < column <= len(headings) else "")


def _commonest(units: Sequence[str]) -> str:
    return Counter(units).most_common(1)[0][0] if units else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
