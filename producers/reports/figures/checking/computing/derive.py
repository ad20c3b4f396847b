"""What the words of a sentence allow to be computed from the source, and nothing beyond."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing import combine
from pelton.producers.reports.figures.checking.facts import Fact, Facts, Series
from pelton.producers.reports.figures.checking.points import Point, over_time, pairs_over_time, points_of, says
from pelton.producers.reports.figures.checking.ranking import Ranked
from pelton.producers.reports.figures.lexing.lexicon import SPENT
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.quantity import PERCENT, POINTS, TIMES, Quantity

CHANGE, DIFFERENCE, OTHER = "change", "difference", "other"
_MAX_NESTED = 20
_MAX_SUMMED = 6
_LARGEST_GROUP = 40
_SPENT = re.compile(SPENT, re.IGNORECASE)
_BOTH_SIGNS = re.compile(r"\b(?:gains?|income|profit|provided|benefit)\b", re.IGNORECASE)
_COST = re.compile(r"\b(?:expens\w*|costs?|used)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A computed quantity.

    Args:
        kind: how its sign is to be read: a change has one, a difference of things may.
        is_last_resort: the words choose neither lines nor operation.

    """

    quantity: Quantity
    formula: str
    facts: tuple[Fact, ...]
    kind: str = OTHER
    is_last_resort: bool = False


@dataclass(frozen=True, slots=True)
class _Material:
    """What a claim may be computed from."""

    claim: Claim
    facts: Facts
    series: list[Series]
    lines: list[list[Point]]
    pairs: list[tuple[Series, Series]]
    ratios: list[list[Point]]


def candidates(claim: Claim, ranked: Sequence[Ranked], facts: Facts) -> Iterator[Candidate]:
    """Everything that the sentence's intent allows over the series that it may speak of, best series first."""
    intent = claim.intent
    series = [one.series for one in ranked]
    lines = [points_of(one) for one in series]
    lines += [*combine.sentence_lines(series, facts), *combine.row_lines(series, facts)]
    shares = intent.share or (intent.relative and not intent.change) or (intent.relative and intent.average)
    compares = shares or intent.sum or intent.difference or intent.average or intent.change
    pairs = list(combine.pairs(series, facts)) if compares else []
    ratios = [line for line in (combine.ratio_line(a, b) for a, b in pairs) if line] if shares else []
    material = _Material(claim, facts, series, lines, pairs, ratios)
    if intent.change or intent.difference:
        yield from _by_change(material)
    if intent.average:
        yield from _by_average(material)
    if intent.sum or intent.average:
        yield from _by_sum(material)
    if shares:
        yield from _by_share(material)
    over_time_only = intent.change and not intent.difference and len(_span(claim)) > 1
    if (intent.difference or intent.change) and not over_time_only and not intent.count:
        for a, b in pairs:
            yield from _differences(a, b, claim)


def _by_change(material: _Material) -> Iterator[Candidate]:
    claim = material.claim
    for line in material.lines:
        unsigned = combine.magnitudes(line) if _is_spent(line) else []
        yield from changes(unsigned or line, claim)
        if unsigned and claim.intent.unsigned:
            yield from changes(line, claim)
    for line in material.ratios:
        yield from changes(line, claim)
    if claim.intent.average:
        for line in material.lines:
            yield from changes(combine.average_line(line), claim)
        yield from _differences_of_averages(material)
    if claim.intent.sum:
        for a, b in material.pairs[:_MAX_NESTED]:
            yield from changes(combine.sum_line(a, b), claim)


def _by_average(material: _Material) -> Iterator[Candidate]:
    for line in material.lines + material.ratios:
        for signed in signs(line):
            for run in over_time(signed, material.claim.all_periods, with_previous=True):
                yield Candidate(*combine.mean(run))
    for a, b in material.pairs if material.claim.intent.difference else ():
        for run in over_time(combine.difference_line(a, b), material.claim.all_periods, with_previous=False):
            yield Candidate(*combine.mean(run))


def _by_sum(material: _Material) -> Iterator[Candidate]:
    claim = material.claim
    for line in material.lines:
        for signed in signs(line):
            for run in over_time(signed, claim.all_periods, with_previous=False):
                yield Candidate(*combine.total(run))
    yield from _over_things(material)
    if claim.intent.sum:
        yield from _whole_groups(material)


def _by_share(material: _Material) -> Iterator[Candidate]:
    for line in material.ratios:
        for point in chain.from_iterable(signs(line)):
            if says(point.periods, material.claim.periods):
                yield Candidate(point.quantity, point.text, point.facts)


def signs(line: list[Point]) -> list[list[Point]]:
    """The line as it stands and without its minus signs; only the latter of costs, which nobody tells as negative."""
    unsigned = combine.magnitudes(line) if _is_spent(line) else []
    return [unsigned] if unsigned and _COST.search(line[0].facts[0].about) else [line, unsigned]


def _is_spent(line: Sequence[Point]) -> bool:
    """Whether a negative line is of things that are told without their minus, and not of things of both signs."""
    about = line[0].facts[0].about if line else ""
    return _SPENT.search(about) is not None and _BOTH_SIGNS.search(about) is None


def changes(line: Sequence[Point], claim: Claim) -> Iterator[Candidate]:
    for new, old in pairs_over_time(line, _span(claim)):
        yield from _change(new, old, claim)


def _span(claim: Claim) -> tuple[Period, ...]:
    """A change is over the sentence's periods, unless the number has two of its own."""
    return claim.periods if len(claim.periods) >= 2 else claim.all_periods  # noqa: PLR2004  # a change has two ends


def _change(new: Point, old: Point, claim: Claim) -> Iterator[Candidate]:
    facts = (*new.facts, *old.facts)
    if not combine.addable(new.quantity, old.quantity):
        return
    difference = new.quantity.amount - old.quantity.amount
    formula = f"{new.text} - {old.text}"
    if new.quantity.unit == TIMES:
        yield Candidate(Quantity(difference, 0, TIMES, 4, scale_known=True), formula, facts, CHANGE)
        yield Candidate(Quantity(difference * 100, 0, POINTS, 2, scale_known=True), formula, facts, CHANGE)
    else:
        unit = POINTS if new.quantity.unit == PERCENT else None
        yield Candidate(combine.like(new.quantity, difference, unit), formula, facts, CHANGE)
    if claim.intent.relative and old.quantity.amount:
        relative = Quantity(difference / old.quantity.amount * 100, 0, PERCENT, 2, scale_known=True)
        yield Candidate(relative, f"({formula}) / {old.text}", facts, CHANGE)


def _over_things(material: _Material) -> Iterator[Candidate]:
    """Sums and averages over two to four things of one time."""
    claim = material.claim
    make = combine.mean if claim.intent.average else combine.total
    for size in (2, 3, 4):
        for group in chain.from_iterable(combinations(things, size) for things in _by_source(material.series)):
            for first in group[0].facts:
                points = [Point.of(first), *(point for one in group[1:] if (point := _partner(first, one)))]
                if len(points) == size and says(first.periods, claim.periods):
                    yield Candidate(*make(points))


def _partner(fact: Fact, series: Series) -> Point | None:
    return next((Point.of(other) for other in series.facts if combine.is_beside(fact, other)), None)


def _by_source(series: Sequence[Series]) -> list[list[Series]]:
    """The best few series of each table and paragraph."""
    sources: dict[str, list[Series]] = {}
    for one in series:
        sources.setdefault(one.key[0], []).append(one)
    return [found[:_MAX_SUMMED] for found in sources.values()]


def _whole_groups(material: _Material) -> Iterator[Candidate]:
    """The sum of all lines of a group that the words name, for groups without a total of their own."""
    columns = dict.fromkeys((one.key[0], one.key[1], fact.column) for one in material.series for fact in one.facts)
    for table, group, column in list(columns)[:_MAX_NESTED]:
        run = [
            Point.of(fact)
            for one in material.facts.in_group(table, group)
            if not one.is_total
            for fact in one.facts
            if fact.column == column and says(fact.periods, material.claim.periods)
        ]
        if 2 < len(run) <= _LARGEST_GROUP and all(combine.addable(run[0].quantity, point.quantity) for point in run):  # noqa: PLR2004  # pairs are sums of things
            yield Candidate(*combine.total(run))


def _differences(a: Series, b: Series, claim: Claim) -> Iterator[Candidate]:
    """One thing less another of the same time, in the order that the sentence names them."""
    mine, yours = a.own | a.around, b.own | b.around
    first, second = claim.position(mine - yours), claim.position(yours - mine)
    if first > second and not claim.intent.remainder:
        return
    unsigned = first == second or claim.intent.distance or claim.intent.remainder
    for one, two in combine.together(a, b):
        if not says(one.periods, claim.periods):
            continue
        is_spent = two.quantity.amount < 0 < one.quantity.amount and _SPENT.search(two.about)
        difference = one.quantity.amount - (abs(two.quantity.amount) if is_spent else two.quantity.amount)
        difference = abs(difference) if unsigned else difference
        unit = POINTS if one.quantity.unit == PERCENT else None
        quantity = combine.like(one.quantity, difference, unit)
        yield Candidate(quantity, f"{one.quote} - {two.quote}", (one, two), DIFFERENCE)
        if claim.intent.relative and claim.intent.difference and two.quantity.amount and not one.quantity.is_rate:
            relative = Quantity(difference / two.quantity.amount * 100, 0, PERCENT, 2, scale_known=True)
            yield Candidate(relative, f"({one.quote} - {two.quote}) / {two.quote}", (one, two), DIFFERENCE)


def _differences_of_averages(material: _Material) -> Iterator[Candidate]:
    """Averages of two things compared: "the difference between the average A and the average B"."""
    averages = [
        [combine.mean(run) for run in over_time(line, material.claim.all_periods, with_previous=True)]
        for line in material.lines[:_MAX_SUMMED]
    ]
    for one, two in combinations(averages, 2):
        for (a, text, facts), (b, other_text, other_facts) in zip(one, two, strict=False):
            if combine.addable(a, b):
                quantity = combine.like(a, abs(a.amount - b.amount))
                yield Candidate(quantity, f"{text} - {other_text}", (*facts, *other_facts), DIFFERENCE)
