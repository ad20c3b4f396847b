"""Lines made from series: ratios, sums and averages at each time, and magnitudes of what accounts write as negative."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from pelton.producers.reports.figures.checking.facts import Fact, Facts, Series
from pelton.producers.reports.figures.checking.points import Point
from pelton.producers.reports.figures.quantity import TIMES, Quantity

_MAX_TOTALS = 20
_RATIO_DECIMALS = 4


def pairs(series: Sequence[Series], facts: Facts) -> Iterator[tuple[Series, Series]]:
    """Pairs of one table or one paragraph, in both orders; totals of the table may always be the second."""
    for a in series:
        partners = list(series)
        if a.facts[0].from_table:
            totals = [one for one in facts.series if one.is_total and one.key[0] == a.key[0] and one not in series]
            partners += totals[:_MAX_TOTALS]
        for b in partners:
            if a is not b and a.key[0] == b.key[0]:
                yield a, b


def together(a: Series, b: Series) -> Iterator[tuple[Fact, Fact]]:
    """The two things' numbers of the same time, in one column or one row."""
    for one in a.facts:
        for two in b.facts:
            if is_beside(one, two):
                yield one, two


def _parts_of_years(a: Series, b: Series) -> Iterator[tuple[Fact, Fact]]:
    """A quarter's number and its year's, in one row."""
    for one in a.facts:
        for two in b.facts:
            if one.row == two.row and one.from_table and addable(one.quantity, two.quantity):
                parts, years = {period.part for period in one.periods}, {period.year for period in one.periods}
                if parts != {""} and any(not period.part and period.year in years for period in two.periods):
                    yield one, two


def is_beside(one: Fact, two: Fact) -> bool:
    """Whether two numbers of one time stand in a column, a row or a sentence together."""
    placed = one.column == two.column or one.row == two.row or not one.from_table
    return placed and one.periods == two.periods and addable(one.quantity, two.quantity)


def addable(one: Quantity, two: Quantity) -> bool:
    """Whether the two may be added or compared: like units, like knowledge of the scale."""
    if one.is_rate != two.is_rate or (one.unit and two.unit and one.unit != two.unit):
        return False
    return one.scale_known == two.scale_known or one.scale == two.scale


def ratio_line(a: Series, b: Series) -> list[Point]:
    points = []
    for one, two in (*together(a, b), *_parts_of_years(a, b)):
        if two.quantity.amount:
            value = one.quantity.amount / two.quantity.amount
            ratio = Quantity(value, 0, TIMES, _RATIO_DECIMALS, scale_known=True)
            points.append(Point(one.periods, ratio, f"{one.quote} / {two.quote}", (one, two)))
    return sorted(points, key=lambda point: point.time)


def sum_line(a: Series, b: Series) -> list[Point]:
    return _line(a, b, sign=1)


def difference_line(a: Series, b: Series) -> list[Point]:
    return _line(a, b, sign=-1)


def _line(a: Series, b: Series, *, sign: int) -> list[Point]:
    points = [
        Point(
            one.periods,
            like(one.quantity, one.quantity.amount + sign * two.quantity.amount),
            f"({one.quote} {'+' if sign > 0 else '-'} {two.quote})",
            (one, two),
        )
        for one, two in together(a, b)
    ]
    return sorted(points, key=lambda point: point.time)


def average_line(line: Sequence[Point]) -> list[Point]:
    """Averages of each period and the one before, as balances are averaged."""
    return [
        Point(
            new.periods,
            like(new.quantity, (new.quantity.amount + old.quantity.amount) / 2),
            f"({new.text} + {old.text}) / 2",
            (*new.facts, *old.facts),
        )
        for old, new in pairwise(line)
    ]


def sentence_lines(series: Sequence[Series], facts: Facts) -> Iterator[list[Point]]:
    """The numbers of a sentence, and of all that the claim may mean, that differ in their periods: "$5 in 2019"."""
    prose = [one for one in series if not one.facts[0].from_table]
    rows = [facts.in_row(row) for row in dict.fromkeys(one.facts[0].row for one in prose)]
    for found in [*rows, [fact for one in prose for fact in one.facts]]:
        dated = [fact for fact in found if fact.periods and not fact.compares]
        for unit in dict.fromkeys(fact.quantity.unit for fact in dated):
            line = [Point.of(fact) for fact in dated if fact.quantity.unit == unit]
            if len({point.time for point in line}) > 1:
                yield sorted(line, key=lambda point: point.time)


def row_lines(series: Sequence[Series], facts: Facts) -> Iterator[list[Point]]:
    """A row's numbers under headings that differ by more than periods: "Estimated at June 30", "Final at year end"."""
    for row in dict.fromkeys(one.facts[0].row for one in series if one.facts[0].from_table):
        found = [fact for fact in facts.in_row(row) if fact.periods and not fact.compares]
        for unit in dict.fromkeys(fact.quantity.unit for fact in found):
            line = [Point.of(fact) for fact in found if fact.quantity.unit == unit]
            times = [point.time for point in line]
            names = {fact.series for fact in found if fact.quantity.unit == unit}
            if 1 < len(line) == len(set(times)) == len(names):
                yield sorted(line, key=lambda point: point.time)


def magnitudes(line: Sequence[Point]) -> list[Point]:
    """The line without its signs, where all of it is written as negative: "(5,686)" of expenses."""
    if not line or any(point.quantity.value >= 0 for point in line):
        return []
    return [replace(point, quantity=replace(point.quantity, value=abs(point.quantity.value))) for point in line]


def like(model: Quantity, amount: Decimal, unit: str | None = None) -> Quantity:
    """An amount at the scale, and with the unit, of another."""
    value = amount.scaleb(-model.scale)
    return Quantity(value, model.scale, model.unit if unit is None else unit, model.decimals, model.scale_known)


def total(run: Sequence[Point]) -> tuple[Quantity, str, tuple[Fact, ...]]:
    amount = sum((point.quantity.amount for point in run), Decimal(0))
    facts = tuple(fact for point in run for fact in point.facts)
    return like(run[0].quantity, amount), " + ".join(point.text for point in run), facts


def mean(run: Sequence[Point]) -> tuple[Quantity, str, tuple[Fact, ...]]:
    quantity, formula, facts = total(run)
    return replace(quantity, value=quantity.value / len(run)), f"({formula}) / {len(run)}", facts
