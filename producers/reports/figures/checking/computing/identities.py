"""What accounts define by one another: costs are revenue less profit, whether or not a report prints them."""

from collections.abc import Iterator
from dataclasses import dataclass

from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.computing import combine
from pelton.producers.reports.figures.checking.computing.derive import Candidate
from pelton.producers.reports.figures.checking.facts import Facts, Series
from pelton.producers.reports.figures.checking.points import says
from pelton.producers.reports.figures.checking.words import stems

_MOST = 4  # lines for each side


@dataclass(frozen=True, slots=True)
class _Identity:
    """`result` is `whole` less `rest`; of each set of words one must be said, or stand in the label."""

    result: frozenset[str]
    whole: frozenset[str]
    rest: frozenset[str]


_IDENTITIES = tuple(
    _Identity(stems(result), stems(whole), stems(rest))
    for result, whole, rest in (
        ("expenses costs", "revenue revenues sales turnover", "income profit earnings"),
        ("accumulated depreciation amortization amortisation", "gross cost", "net carrying"),
        ("liabilities", "assets", "equity"),
        ("equity", "assets", "liabilities"),
        ("profit margin", "revenue revenues sales turnover", "costs expenses"),
    )
)


def identities(claim: Claim, facts: Facts) -> Iterator[Candidate]:
    """Differences that the name of the thing stands for, of lines of one table in the sentence's period."""
    for identity in _IDENTITIES:
        if not identity.result & claim.words:
            continue
        wholes = _lines(facts, identity.whole, identity.result | identity.rest)
        rests = _lines(facts, identity.rest, identity.result | identity.whole)
        for whole in wholes:
            for rest in rests:
                if whole.key[0] == rest.key[0]:
                    yield from _differences(whole, rest, claim)


def _lines(facts: Facts, words: frozenset[str], not_of: frozenset[str]) -> list[Series]:
    places = sorted({place for word in words for place in facts.by_word.get(word, ())})
    lines = [facts.series[place] for place in places]
    fit = [one for one in lines if one.facts[0].from_table and one.own | one.around and not (one.own & not_of)]
    return [one for one in fit if not one.facts[0].quantity.is_rate][:_MOST]


def _differences(whole: Series, rest: Series, claim: Claim) -> Iterator[Candidate]:
    for one, two in combine.together(whole, rest):
        if says(one.periods, claim.periods):
            quantity = combine.like(one.quantity, one.quantity.amount - two.quantity.amount)
            yield Candidate(quantity, f"{one.quote} - {two.quote}", (one, two))
