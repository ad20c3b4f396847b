"""The last resort: any two cells in line, for numbers with so many digits that a match is hardly by chance.

Where words choose neither the lines nor the operation, each further thing that is computed makes a match by chance more
likely. So the cells that share most words with the sentence come first, and the search ends where the matches that are
to be expected by chance exceed a small bound. Periods and signs bind as elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, islice

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing import combine
from pelton.producers.reports.figures.checking.computing.derive import CHANGE, DIFFERENCE, Candidate
from pelton.producers.reports.figures.checking.facts import Fact
from pelton.producers.reports.figures.checking.points import Point, in_time, says
from pelton.producers.reports.figures.checking.things import View, weigh
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.quantity import PERCENT, POINTS, TIMES, Quantity

_EXPECTED = 0.04  # matches by chance
_DENSITY = 0.3  # of computed numbers near a given one, as a share of all, where both have any leading digits and scale
_MAX_CELLS = 40
_MAX_TRIED = 2000
_RATIO_DECIMALS = 4


def in_line(
    claim: Claim, tables: Sequence[tuple[View, View]], words: frozenset[str], weights: dict[str, float]
) -> Iterator[Candidate]:
    """Changes, sums, averages, differences and ratios of two cells of one row or column, best cells first."""
    limit = _limit(claim.number.quantity)
    if limit and _computes(claim):
        cells = [cell for rows, _ in tables for cell in _cells(claim, rows, words, weights)]
        cells.sort(key=lambda cell: -cell[0])
        ordered = sorted(combinations(cells[:_MAX_CELLS], 2), key=lambda two: -(two[0][0] + two[1][0]))
        found = (made for (_, one), (_, two) in ordered for made in _of_two(claim, one, two))
        yield from (replace(candidate, is_last_resort=True) for candidate in islice(found, limit))


def _limit(quantity: Quantity) -> int:
    """How many numbers may be tried before one matches by chance."""
    if not quantity.value:
        return 0
    width = float(Decimal(1).scaleb(-quantity.decimals) / abs(quantity.value))
    return min(int(_EXPECTED / (_DENSITY * width)), _MAX_TRIED)


def _computes(claim: Claim) -> bool:
    intent = claim.intent
    return (
        claim.number.quantity.is_rate
        or intent.change
        or intent.sum
        or intent.average
        or intent.difference
        or intent.share
    )


def _cells(claim: Claim, rows: View, words: frozenset[str], weights: dict[str, float]) -> Iterator[tuple[float, Fact]]:
    for row in rows.things:
        for fact in row.facts.values():
            score = weigh((fact.own | fact.around) & words, weights)
            if score and (not fact.periods or _may_be_of(fact, claim)):
                yield score, fact


def _may_be_of(fact: Fact, claim: Claim) -> bool:
    if says(fact.periods, claim.all_periods):
        return True
    times = {period.year for period in claim.all_periods}
    return claim.intent.change and len(times) == 1 and any(period.year + 1 in times for period in fact.periods)


def _of_two(claim: Claim, one: Fact, two: Fact) -> Iterator[Candidate]:
    if one.row != two.row and (one.column != two.column or one.row[0] != two.row[0]):
        return
    if not combine.addable(one.quantity, two.quantity):
        return
    new, old = sorted((Point.of(one), Point.of(two)), key=lambda point: point.time, reverse=True)
    if new.time != old.time:
        if _are_ends(new, old, in_time(claim.all_periods)):
            yield from _changes(claim, new, old)
    elif len(claim.all_periods) <= 1 and says(one.periods, claim.periods):
        yield from _things(claim, new, old)


def _are_ends(new: Point, old: Point, times: list[Period]) -> bool:
    if len(times) > 1:
        return says(new.periods, times[-1:]) and says(old.periods, times[:1])
    return not times or says(new.periods, times)


def _changes(claim: Claim, new: Point, old: Point) -> Iterator[Candidate]:
    facts = (*new.facts, *old.facts)
    change = new.quantity.amount - old.quantity.amount
    formula = f"{new.text} - {old.text}"
    if not claim.number.quantity.is_rate:
        yield Candidate(combine.like(new.quantity, change), formula, facts, CHANGE)
        yield from _both(claim, new, old)
    elif new.quantity.is_rate:
        yield Candidate(combine.like(new.quantity, change, POINTS), formula, facts, CHANGE)
    elif old.quantity.amount > 0:
        rate = Quantity(change / old.quantity.amount * 100, 0, PERCENT, 2, scale_known=True)
        yield Candidate(rate, f"({formula}) / {old.text}", facts, CHANGE)


def _things(claim: Claim, one: Point, two: Point) -> Iterator[Candidate]:
    facts = (*one.facts, *two.facts)
    if claim.number.quantity.is_rate or claim.intent.share:
        for above, below in ((one, two), (two, one)):
            if below.quantity.amount:
                ratio = above.quantity.amount / below.quantity.amount
                quantity = Quantity(ratio, 0, TIMES, _RATIO_DECIMALS, scale_known=True)
                yield Candidate(quantity, f"{above.text} / {below.text}", facts)
    if not claim.number.quantity.is_rate:
        if claim.intent.difference:
            gap = abs(one.quantity.amount - two.quantity.amount)
            yield Candidate(combine.like(one.quantity, gap), f"{one.text} - {two.text}", facts, DIFFERENCE)
        yield from _both(claim, one, two)


def _both(claim: Claim, one: Point, two: Point) -> Iterator[Candidate]:
    if claim.intent.average:
        yield Candidate(*combine.mean((one, two)))
    elif claim.intent.sum:
        yield Candidate(*combine.total((one, two)))
