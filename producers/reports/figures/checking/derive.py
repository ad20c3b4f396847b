"""What the words of a sentence allow to be computed from the source, and nothing beyond."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.facts import Fact, Facts, Series
from pelton.producers.reports.figures.checking.points import Point, over_time, pairs_over_time, points_of, says
from pelton.producers.reports.figures.checking.ranking import Ranked
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.quantity import PERCENT, POINTS, TIMES, Quantity

CHANGE, DIFFERENCE, OTHER = "change", "difference", "other"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A computed quantity. `kind` says how its sign is to be read: a change has one, a difference of things may."""

    quantity: Quantity
    formula: str
    facts: tuple[Fact, ...]
    kind: str = OTHER


def candidates(claim: Claim, ranked: Sequence[Ranked], facts: Facts) -> Iterator[Candidate]:
    """Everything that the sentence's intent allows over the series that it may speak of, best series first."""
    intent = claim.intent
    series = [one.series for one in ranked]
    lines = [points_of(one) for one in series]
    paired = (
        list(_pairs(series, facts))
        if intent.share or intent.sum or intent.difference or intent.average or intent.change
        else []
    )
    ratios = (
        [line for line in (_ratio_line(a, b) for a, b in paired) if line] if intent.share or intent.relative else []
    )
    if intent.change:
        for line in lines:
            yield from _changes(line, claim)
        if intent.share:
            for line in ratios:
                yield from _changes(line, claim)
        if intent.average:
            for line in lines:
                yield from _changes(_averages(line), claim)
        if intent.sum:
            for a, b in paired[:_MOST_NESTED]:
                yield from _changes(_sum_line(a, b), claim)
    if intent.average:
        for line in lines + (ratios if intent.share or intent.relative else []):
            for run in over_time(line, claim.all_periods, with_previous=True):
                yield _average(run)
    if intent.sum or intent.average:
        for line in lines:
            for run in over_time(line, claim.all_periods, with_previous=False):
                yield _sum(run)
        yield from _sums_of_things(series, claim)
    if intent.share or intent.relative:
        for line in ratios:
            for point in line:
                if says(point.periods, claim.periods):
                    yield Candidate(point.quantity, point.text, point.facts)
    if intent.difference or intent.change:
        for a, b in paired:
            yield from _differences(a, b, claim)


_MOST_NESTED = 20


def _pairs(series: Sequence[Series], facts: Facts) -> Iterator[tuple[Series, Series]]:
    """Pairs of one table or one paragraph, in both orders; totals of the table may always be the second."""
    for a in series:
        partners = list(series)
        if a.facts[0].from_table:
            partners += [one for one in facts.series if one.is_total and one.key[0] == a.key[0] and one not in series][
                :20
            ]
        for b in partners:
            if a is not b and a.key[0] == b.key[0]:
                yield a, b


def _together(a: Series, b: Series) -> Iterator[tuple[Fact, Fact]]:
    """The two things' numbers of the same time."""
    for one in a.facts:
        for two in b.facts:
            if one.periods == two.periods and _addable(one.quantity, two.quantity):
                yield one, two


def _addable(one: Quantity, two: Quantity) -> bool:
    if one.is_rate != two.is_rate:
        return False
    if one.unit and two.unit and one.unit != two.unit:
        return False
    return one.scale_known == two.scale_known or one.scale == two.scale


def _ratio_line(a: Series, b: Series) -> list[Point]:
    points = []
    for one, two in _together(a, b):
        if two.quantity.amount:
            ratio = Quantity(one.quantity.amount / two.quantity.amount, 0, TIMES, 4, scale_known=True)
            points.append(Point(one.periods, ratio, f"{one.quote} / {two.quote}", (one, two)))
    return sorted(points, key=lambda point: point.time)


def _sum_line(a: Series, b: Series) -> list[Point]:
    points = [
        Point(
            one.periods,
            _like(one.quantity, one.quantity.amount + two.quantity.amount),
            f"({one.quote} + {two.quote})",
            (one, two),
        )
        for one, two in _together(a, b)
    ]
    return sorted(points, key=lambda point: point.time)


def _averages(line: Sequence[Point]) -> list[Point]:
    """Averages of each period and the one before, as balances are averaged."""
    return [
        Point(
            new.periods,
            _like(new.quantity, (new.quantity.amount + old.quantity.amount) / 2),
            f"({new.text} + {old.text}) / 2",
            (*new.facts, *old.facts),
        )
        for old, new in zip(line, line[1:], strict=False)
    ]


def _like(model: Quantity, amount: Decimal, unit: str | None = None) -> Quantity:
    return Quantity(
        amount.scaleb(-model.scale),
        model.scale,
        model.unit if unit is None else unit,
        model.decimals,
        model.scale_known,
    )


def _changes(line: Sequence[Point], claim: Claim) -> Iterator[Candidate]:
    periods = _span(claim)
    for new, old in pairs_over_time(line, periods):
        yield from _change(new, old, claim)


def _span(claim: Claim) -> tuple[Period, ...]:
    """A change is over the sentence's periods, unless the number has two of its own."""
    return claim.periods if len(claim.periods) >= 2 else claim.all_periods  # noqa: PLR2004


def _change(new: Point, old: Point, claim: Claim) -> Iterator[Candidate]:
    facts = (*new.facts, *old.facts)
    if not _addable(new.quantity, old.quantity):
        return
    difference = new.quantity.amount - old.quantity.amount
    is_rate = new.quantity.is_rate or new.quantity.unit == TIMES
    if is_rate and new.quantity.unit == TIMES:
        yield Candidate(Quantity(difference, 0, TIMES, 4, scale_known=True), f"{new.text} - {old.text}", facts, CHANGE)
        yield Candidate(
            Quantity(difference * 100, 0, POINTS, 2, scale_known=True), f"{new.text} - {old.text}", facts, CHANGE
        )
    else:
        unit = POINTS if new.quantity.unit == PERCENT else None
        yield Candidate(_like(new.quantity, difference, unit), f"{new.text} - {old.text}", facts, CHANGE)
    if claim.intent.relative and old.quantity.amount:
        relative = difference / old.quantity.amount * 100
        formula = f"({new.text} - {old.text}) / {old.text}"
        yield Candidate(Quantity(relative, 0, PERCENT, 2, scale_known=True), formula, facts, CHANGE)


def _average(run: Sequence[Point]) -> Candidate:
    total = sum((point.quantity.amount for point in run), Decimal(0))
    formula = f"({' + '.join(point.text for point in run)}) / {len(run)}"
    return Candidate(
        _like(run[0].quantity, total / len(run)), formula, tuple(fact for point in run for fact in point.facts)
    )


def _sum(run: Sequence[Point]) -> Candidate:
    total = sum((point.quantity.amount for point in run), Decimal(0))
    formula = " + ".join(point.text for point in run)
    return Candidate(_like(run[0].quantity, total), formula, tuple(fact for point in run for fact in point.facts))


def _sums_of_things(series: Sequence[Series], claim: Claim) -> Iterator[Candidate]:
    """Sums and averages over two or three things of one time, or a whole column's group."""
    for size in (2, 3):
        for group in combinations(series[:6], size):
            if len({one.key[0] for one in group}) > 1:
                continue
            for first in group[0].facts:
                rest = [
                    next(
                        (
                            fact
                            for fact in one.facts
                            if fact.periods == first.periods and _addable(fact.quantity, first.quantity)
                        ),
                        None,
                    )
                    for one in group[1:]
                ]
                points = [_point(fact) for fact in (first, *rest) if fact is not None]
                if len(points) == size and says(first.periods, claim.periods):
                    yield _average(points) if claim.intent.average else _sum(points)


def _point(fact: Fact) -> Point:
    return Point(fact.periods, fact.quantity, fact.quote, (fact,), fact.column)


def _differences(a: Series, b: Series, claim: Claim) -> Iterator[Candidate]:
    """One thing less another of the same time, in the order that the sentence names them."""
    if claim.position(a.own - b.own) > claim.position(b.own - a.own):
        return
    for one, two in _together(a, b):
        if says(one.periods, claim.periods):
            difference = one.quantity.amount - two.quantity.amount
            unit = POINTS if one.quantity.unit == PERCENT else None
            yield Candidate(_like(one.quantity, difference, unit), f"{one.quote} - {two.quote}", (one, two), DIFFERENCE)
            if claim.intent.relative and two.quantity.amount and not one.quantity.is_rate:
                relative = Quantity(difference / two.quantity.amount * 100, 0, PERCENT, 2, scale_known=True)
                yield Candidate(relative, f"({one.quote} - {two.quote}) / {two.quote}", (one, two), DIFFERENCE)
