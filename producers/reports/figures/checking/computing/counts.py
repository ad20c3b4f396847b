"""Counts that a text states: "how many years did sales exceed $5 million", "how many segments are there"."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing.derive import Candidate
from pelton.producers.reports.figures.checking.facts import Fact, Facts, Series
from pelton.producers.reports.figures.checking.points import says
from pelton.producers.reports.figures.checking.ranking import Ranked
from pelton.producers.reports.figures.lexing.lexer import Number, scan
from pelton.producers.reports.figures.quantity import Quantity

_ABOVE = re.compile(
    r"\b(?:exceed\w*|above|over|more than|greater than|higher than|larger than|at least)\s*(?:the\s|an?\s)?$",
    re.IGNORECASE,
)
_BELOW = re.compile(
    r"\b(?:below|under|less than|lower than|smaller than|fewer than|at most)\s*(?:the\s|an?\s)?$", re.IGNORECASE
)
_TIMES = re.compile(r"\bhow many(?: of the)? (?:\w+ )?(?:years|quarters|periods|months)\b", re.IGNORECASE)
_LARGEST_COUNT = 1000
_MAX_SERIES = 3
_CLOSE = Decimal("0.1")  # a bound says something where it is within a tenth


def counted(claim: Claim, ranked: Sequence[Ranked], facts: Facts) -> Iterator[Candidate]:
    """The counts that a question for a number of things may mean; nothing where none is asked for."""
    quantity = claim.number.quantity
    if not claim.intent.count or quantity.decimals or quantity.unit or abs(quantity.amount) > _LARGEST_COUNT:
        return
    test = condition(claim.sentence)
    if test is not None and _TIMES.search(claim.sentence):
        for one in ranked[:_MAX_SERIES]:
            yield from count(list(one.series.facts), test)
        return
    for group in _groups(ranked, facts):
        columns = dict.fromkeys(fact.column for one in group for fact in one.facts)
        for column in columns:
            things = [
                fact
                for one in group
                for fact in one.facts
                if fact.column == column and says(fact.periods, claim.periods)
            ]
            yield from count(things, test or (lambda _fact: True))


def bounded(claim: Claim, ranked: Sequence[Ranked]) -> Iterator[Candidate]:
    """A bound that the text states, "more than $1.4 billion", and that a number of the same thing keeps closely."""
    before = claim.sentence[max(0, claim.at - 24) : claim.at]
    above = _ABOVE.search(before) is not None
    if not above and not _BELOW.search(before):
        return
    holds, bound = _comparison(claim.number, above=above), claim.number.quantity.amount
    for one in ranked[:_MAX_SERIES]:
        for fact in one.series.facts:
            near = abs(abs(fact.quantity.amount) - bound) <= _CLOSE * bound
            if near and holds(fact) and says(fact.periods, claim.periods):
                sign = ">" if above else "<"
                quantity = replace(claim.number.quantity, unit=fact.quantity.unit)
                yield Candidate(quantity, f"{fact.quote} {sign} {claim.number.text}", (fact,))


def count(things: Sequence[Fact], test: Callable[[Fact], bool]) -> Iterator[Candidate]:
    found = [fact for fact in things if test(fact)]
    if things:
        formula = f"{len(found)} of {len(things)}: " + ", ".join(fact.quote for fact in found)
        yield Candidate(Quantity(Decimal(len(found)), scale_known=True), formula, tuple(found or things[:1]))


def _groups(ranked: Sequence[Ranked], facts: Facts) -> Iterator[list[Series]]:
    """The lines under the group labels that the words name, without totals, and those of whole tables."""
    keys = dict.fromkeys((one.series.key[0], one.series.key[1]) for one in ranked if one.series.facts[0].from_table)
    for table, group in keys:
        yield [one for one in facts.in_group(table, group) if not one.is_total]
    for table in dict.fromkeys(table for table, _ in keys):
        yield [one for one in facts.series if one.key[0] == table and not one.is_total]


@lru_cache(maxsize=16)
def condition(sentence: str) -> Callable[[Fact], bool] | None:
    """The comparison that the sentence makes: "above $50 million". Kept for the sentence's other numbers."""
    for number in scan(sentence).amounts:
        before = sentence[max(0, number.start - 24) : number.start]
        if _ABOVE.search(before):
            return _comparison(number, above=True)
        if _BELOW.search(before):
            return _comparison(number, above=False)
    return None


def _comparison(number: Number, *, above: bool) -> Callable[[Fact], bool]:
    bound = number.quantity

    def holds(fact: Fact) -> bool:
        scaled = bound.scale_known or bound.amount >= fact.quantity.amount.copy_abs() / 1000
        value = abs(fact.quantity.amount if scaled else fact.quantity.value)
        return value > bound.amount if above else value < bound.amount

    return holds
