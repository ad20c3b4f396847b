"""What is computed from several rows or columns at once: named ones, the parts of a total, a whole list."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing import combine
from pelton.producers.reports.figures.checking.computing.counts import condition, count
from pelton.producers.reports.figures.checking.computing.derive import DIFFERENCE, Candidate, changes, signs
from pelton.producers.reports.figures.checking.computing.unlike import products
from pelton.producers.reports.figures.checking.facts import Fact, Facts
from pelton.producers.reports.figures.checking.points import Point, over_time, says
from pelton.producers.reports.figures.checking.things import Thing, View, named
from pelton.producers.reports.figures.quantity import TIMES, Quantity

_RATIO_DECIMALS = 4
Line = list[Point]


@dataclass(frozen=True, slots=True)
class _Sets:
    """One way to read a table for a claim.

    Args:
        chosen: the things that the words name, best first.
        places: where across them to look: columns of rows, or rows of columns; only those that the words name, if any.
        is_placed: whether the words name places.

    """

    claim: Claim
    view: View
    chosen: list[Thing]
    places: frozenset[int]
    is_placed: bool


def from_sets(
    claim: Claim, both: Sequence[tuple[View, View]], words: frozenset[str], facts: Facts
) -> Iterator[Candidate]:
    """Candidates over the rows and columns of each table, those of named things before those of whole lists."""
    ways = [
        _read(claim, view, across, words, facts)
        for rows, columns in both
        for view, across in ((rows, columns), (columns, rows))
    ]
    for sets in ways:
        if sets.chosen:
            yield from _of_named(sets)
    for sets in ways:
        yield from _of_whole(sets)
    if claim.intent.product:
        yield from chain.from_iterable(products(claim, sets.chosen) for sets in ways)


def _read(claim: Claim, view: View, across: View, words: frozenset[str], facts: Facts) -> _Sets:
    chosen = named(view, words, facts.weights, claim.periods)
    left = words - frozenset(word for thing in chosen for word in thing.words)
    places = [thing.place for thing in named(across, left, facts.weights, claim.periods)]
    everywhere = [thing.place for thing in across.things]
    return _Sets(claim, view, chosen, frozenset(places or everywhere), bool(places))


def _of_named(sets: _Sets) -> Iterator[Candidate]:
    claim, chosen = sets.claim, sets.chosen
    intent = claim.intent
    for size in range(len(chosen), 1, -1):
        for line in _lines(sets, chosen[:size]):
            if intent.sum or intent.average:
                yield from _sums(line, claim, size)
            if intent.change:
                yield from changes(line, claim)
    is_share = intent.share or intent.relative
    for whole in chosen:
        rest = [thing for thing in chosen if thing is not whole]
        for size in range(len(rest), 0, -1):
            if is_share:
                yield from _shares(sets, rest[:size], whole)
            if intent.difference:
                yield from _remainders(sets, whole, rest[:size])


def _lines(sets: _Sets, things: Sequence[Thing]) -> Iterator[Line]:
    """The sums of the things at each place, in lines over places that differ in their periods only."""
    lines: dict[tuple[str, ...], Line] = defaultdict(list)
    for place, first in things[0].facts.items():
        found = [thing.facts.get(place) for thing in things]
        beside = [fact for fact in found if fact is not None and combine.addable(first.quantity, fact.quantity)]
        if (
            place in sets.places
            and len(beside) == len(things)
            and all(says(fact.periods, first.periods) for fact in beside)
        ):
            is_row = first.row == (sets.view.table, things[0].place)
            name = first.series[3:] if is_row else first.series[1:3]
            lines[name].append(replace(_sum(beside), column=place))
    for line in lines.values():
        yield from (signed for signed in signs(sorted(line, key=lambda point: point.time)) if signed)


def _sum(facts: Sequence[Fact]) -> Point:
    points = [Point(fact.periods, fact.quantity, fact.quote, (fact,), fact.column) for fact in facts]
    if len(points) == 1:
        return points[0]
    quantity, text, parts = combine.total(points)
    return Point(facts[0].periods, quantity, f"({text})", parts, facts[0].column)


def _sums(line: Line, claim: Claim, size: int) -> Iterator[Candidate]:
    """Of each time that the sentence says, or over its times: the sum, or the average over things or over time."""
    for point in line:
        if says(point.periods, claim.periods):
            yield _sum_or_mean(point, claim, size)
    for run in over_time(line, claim.all_periods, with_previous=False):
        quantity, formula, facts = combine.mean(run) if claim.intent.average else combine.total(run)
        yield Candidate(quantity, formula, facts)


def _sum_or_mean(point: Point, claim: Claim, size: int) -> Candidate:
    if not claim.intent.average:
        return Candidate(point.quantity, point.text, point.facts)
    mean = replace(point.quantity, value=point.quantity.value / size)
    return Candidate(mean, f"{point.text} / {size}", point.facts)


def _shares(sets: _Sets, parts: Sequence[Thing], whole: Thing) -> Iterator[Candidate]:
    for above in _lines(sets, parts):
        for below in _lines(sets, [whole]):
            ratios = _ratios(above, below)
            for point in ratios:
                if says(point.periods, sets.claim.periods):
                    yield Candidate(point.quantity, point.text, point.facts)
            if sets.claim.intent.change:
                yield from changes(ratios, sets.claim)


def _ratios(above: Line, below: Line) -> Line:
    places = {point.column: point for point in below}
    found = []
    for point in above:
        under = places.get(point.column)
        if under and under.quantity.amount and combine.addable(point.quantity, under.quantity):
            value = point.quantity.amount / under.quantity.amount
            ratio = Quantity(value, 0, TIMES, _RATIO_DECIMALS, scale_known=True)
            found.append(Point(point.periods, ratio, f"{point.text} / {under.text}", (*point.facts, *under.facts)))
    return found


def _remainders(sets: _Sets, whole: Thing, parts: Sequence[Thing]) -> Iterator[Candidate]:
    """A total without some of its parts."""
    if not whole.is_total or not {thing.place for thing in parts} <= {*whole.parts}:
        return
    for line in _lines(sets, [whole]):
        for less in _lines(sets, parts):
            places = {point.column: point for point in less}
            for point in line:
                part = places.get(point.column)
                if part and says(point.periods, sets.claim.periods):
                    quantity = combine.like(point.quantity, point.quantity.amount - part.quantity.amount)
                    yield Candidate(quantity, f"{point.text} - {part.text}", (*point.facts, *part.facts), DIFFERENCE)


def _of_whole(sets: _Sets) -> Iterator[Candidate]:
    """Sums, averages and counts of the parts of a named total, or of a list of which the words name a column."""
    intent = sets.claim.intent
    if not (intent.sum or intent.average or intent.count):
        return
    groups = [sets.view.parts_of(total) for total in sets.chosen if total.parts]
    is_placed = sets.is_placed or len(sets.places) == 1 or bool(sets.claim.periods)
    if not sets.chosen and is_placed:
        groups.append(sets.view.singles())
    for group in groups:
        for place in sorted(sets.places):
            facts = [
                fact for thing in group if (fact := thing.facts.get(place)) and says(fact.periods, sets.claim.periods)
            ]
            if len(facts) > 1:
                yield from _of_group(sets.claim, facts)


def _of_group(claim: Claim, facts: Sequence[Fact]) -> Iterator[Candidate]:
    if claim.intent.count:
        yield from count(facts, condition(claim.sentence) or (lambda _fact: True))
    elif all(combine.addable(facts[0].quantity, fact.quantity) for fact in facts):
        yield _sum_or_mean(_sum(facts), claim, len(facts))
        unsigned = combine.magnitudes([_sum(facts)])
        yield from (_sum_or_mean(point, claim, len(facts)) for point in unsigned if Decimal(0) < point.quantity.value)
