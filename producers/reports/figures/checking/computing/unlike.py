"""Numbers of unlike units taken together: things times their price, money for each of the things."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing import combine
from pelton.producers.reports.figures.checking.computing.derive import Candidate
from pelton.producers.reports.figures.checking.facts import Fact, Facts
from pelton.producers.reports.figures.checking.points import Point, says
from pelton.producers.reports.figures.checking.ranking import Ranked
from pelton.producers.reports.figures.checking.things import Thing
from pelton.producers.reports.figures.checking.words import stem
from pelton.producers.reports.figures.quantity import PER_SHARE, Quantity

_PER = re.compile(r"\b(?:per|for each|for every)\s(?!cent\b)(?:\w+\s)?([a-z]{3,})", re.IGNORECASE)
_MOST = 12  # of each unit
_DECIMALS = 4


def products(claim: Claim, things: Sequence[Thing]) -> Iterator[Candidate]:
    """A number of things times the price of each, of one of the things named, or summed over several."""
    found: list[Point] = []
    for thing in things:
        facts = [fact for fact in thing.facts.values() if says(fact.periods, claim.periods)]
        counts = [fact for fact in facts if _is_count(fact.quantity)]
        prices = [fact for fact in facts if fact.quantity.is_money]
        if len(counts) == len(prices) == 1:
            found.append(_product(counts[0], prices[0]))
            yield Candidate(found[-1].quantity, found[-1].text, found[-1].facts)
    if len(found) > 1:
        yield Candidate(*combine.total(found))


def _product(count: Fact, price: Fact) -> Point:
    amount = abs(count.quantity.amount * price.quantity.amount)
    unit = price.quantity.unit.removesuffix(PER_SHARE)
    quantity = Quantity(amount, 0, unit, price.quantity.decimals, scale_known=True)
    return Point(count.periods, quantity, f"{count.quote} * {price.quote}", (count, price))


def for_each(claim: Claim, ranked: Sequence[Ranked], facts: Facts) -> Iterator[Candidate]:
    """Money divided by the number of what the sentence says it is for each of: "revenue per employee"."""
    asked = _PER.search(claim.sentence)
    if not asked:
        return
    noun = stem(asked.group(1).lower())
    near = [fact for one in ranked for fact in one.series.facts if says(fact.periods, claim.periods)]
    money = [fact for fact in near if fact.quantity.is_money][:_MOST]
    for count in islice(
        (fact for fact in facts.all if _counts(fact, noun) and says(fact.periods, claim.periods)), _MOST
    ):
        for fact in money:
            amount = fact.quantity.amount / count.quantity.amount
            quantity = replace(combine.like(fact.quantity, amount), decimals=_DECIMALS)
            yield Candidate(quantity, f"{fact.quote} / {count.quote}", (fact, count))


def _counts(fact: Fact, noun: str) -> bool:
    is_named = noun in fact.own or stem(fact.quantity.unit) == noun
    return is_named and _is_count(fact.quantity) and fact.quantity.amount > 0


def _is_count(quantity: Quantity) -> bool:
    return not quantity.is_money and not quantity.is_rate and not quantity.unit.endswith(("days", "months", "years"))
