"""Which of a sentence's periods a number is said of."""

import re
from collections.abc import Iterator
from itertools import pairwise

from pelton.producers.reports.figures.checking.timing.comparisons import (
    earlier,
    is_compared,
    is_earlier,
    is_first_end,
    later,
)
from pelton.producers.reports.figures.lexing.lexer import Number, Scan
from pelton.producers.reports.figures.lexing.periods import Period, PeriodMention

_CLOSE = 9  # characters between two items of a list: ", and US"
_COMPARED = re.compile(r"\b(?:compared\s(?:to|with)|versus|vs\.?|against|than|from)\s\S{0,14}$", re.IGNORECASE)
_COLON = re.compile(r":\s*")
_TWO_ENDS = re.compile(r"\s(?:to|and|through|until|versus)\s(?:\w+\s){0,5}", re.IGNORECASE)
_JOIN = re.compile(
    r"\s*(?:,|,?\s?(?:and|or|versus|vs\.?|compared\s(?:to|with)|from|to)|;|&)?\s*(?:the\s)?(?:fiscal\s)?(?:years?\s)?",
    re.IGNORECASE,
)


def periods_of(sentence: str, found: Scan, number: Number) -> tuple[Period, ...]:
    """The periods of one number; empty where the sentence names only another number's.

    "(2018: $5)" is of the number behind it alone. Of the other periods: with one amount or one period that is
    all of them. "A, B and C in 2019, 2018 and 2017, respectively" is aligned. Else it is the period that
    follows before the next amount, or stands just before the number. Periods that it is compared with are not its
    own; "a year earlier" is the one before what is named.
    """
    if is_earlier(sentence, number):
        rest = tuple(dict.fromkeys(mention.period for mention in found.periods))
        return earlier(rest) if len(rest) == 1 else _before_the_last(found, number)
    labels = [mention for mention in found.periods if sentence[mention.end : mention.end + 1] == ":"]
    place = found.amounts.index(number)
    before = found.amounts[place - 1].end if place else 0
    own = [mention for mention in labels if before <= mention.start < number.start]
    if own:
        return (own[-1].period,)
    free = [mention for mention in found.periods if mention not in labels]
    everything = tuple(dict.fromkeys(mention.period for mention in free))
    if len(everything) == 1 and number.start < free[0].start and is_compared(sentence, found, free[0]):
        return later(everything)
    if len(everything) == 1 and number.end < free[0].start and is_first_end(sentence, number):
        return earlier(everything, by_quarter=True) if _follows_the_second(found, number, free[0]) else everything
    free = [mention for mention in free if not is_compared(sentence, found, mention)] or free
    if len(found.amounts) <= 1 or len(everything) <= 1:
        return () if everything and _is_of_the_other(sentence, found, number) else everything
    aligned = _aligned(found, number)
    return (aligned,) if aligned is not None else _nearest(sentence, found, number, free) or everything


def all_periods_of(sentence: str, found: Scan) -> tuple[Period, ...]:
    """Every period of a sentence; one that stands alone and is compared with brings in what it is compared with."""
    named = tuple(dict.fromkeys(mention.period for mention in found.periods))
    if len(named) == 1 and is_compared(sentence, found, found.periods[0]):
        return (*named, *later(named)[:1])
    return named


def _before_the_last(found: Scan, number: Number) -> tuple[Period, ...]:
    """The year before the period that was named last before the number."""
    before = [mention.period for mention in found.periods if mention.end <= number.start]
    return earlier(before[-1:])


def _follows_the_second(found: Scan, number: Number, mention: PeriodMention) -> bool:
    """Whether the period stands behind the other end: "from 5 to 6 in 2019", not "from 5 in 2018 to 6"."""
    place = found.amounts.index(number)
    return place + 1 < len(found.amounts) and found.amounts[place + 1].end <= mention.start


def _nearest(sentence: str, found: Scan, number: Number, periods: list[PeriodMention]) -> tuple[Period, ...]:
    """The periods between the number and the next amount, or the one between the last amount and the number."""
    amounts = found.amounts
    place = amounts.index(number)
    after = amounts[place + 1].start if place + 1 < len(amounts) else len(sentence)
    before = amounts[place - 1].end if place else 0
    following = [mention for mention in periods if number.end <= mention.start < after]
    if following:
        return _first_run(sentence, following)
    preceding = [mention for mention in periods if before <= mention.start < number.start]
    is_of_the_last = place and preceding and "," in sentence[preceding[-1].end : number.start]
    return (preceding[-1].period,) if preceding and not is_of_the_last else ()


def _is_of_the_other(sentence: str, found: Scan, number: Number) -> bool:
    """Whether the only period is that of a number compared with: "was $7, compared with $8 in 2018"."""
    mention = found.periods[0]
    others = [other for other in found.amounts if number.end <= other.start and other.end <= mention.start]
    if not others or mention.start - others[-1].end > _CLOSE:
        return False
    return _COMPARED.search(sentence[number.end : others[-1].start]) is not None


def _aligned(found: Scan, number: Number) -> Period | None:
    """The period at the number's own place in two lists of equal length, the periods behind or before the amounts."""
    dated = [mention for mention in found.periods if mention.period.year or mention.period.part]
    for run in _runs(found.amounts, number):
        inside = [mention for mention in dated if run[0].end <= mention.start < run[-1].start]
        if inside:
            continue
        behind = [mention for mention in dated if mention.start >= run[-1].end]
        before = [mention for mention in dated if mention.end <= run[0].start]
        for mentions in (behind[: len(run)], before[-len(run) :]):
            if len(mentions) == len(run) and _is_one_list(
                mentions, behind if mentions[0] in behind else before, found.amounts
            ):
                return mentions[run.index(number)].period
    return None


def _runs(amounts: tuple[Number, ...], number: Number) -> Iterator[list[Number]]:
    """Lists of amounts that hold the number: "A, B and C", each close to the one before; the longest first."""
    place = amounts.index(number)
    first = last = place
    while first > 0 and amounts[first].start - amounts[first - 1].end <= _CLOSE:
        first -= 1
    while last + 1 < len(amounts) and amounts[last + 1].start - amounts[last].end <= _CLOSE:
        last += 1
    if last > first:
        yield list(amounts[first : last + 1])


def _is_one_list(mentions: list[PeriodMention], side: list[PeriodMention], amounts: tuple[Number, ...]) -> bool:
    """Whether the periods stand close together, without amounts or further periods among or beside them."""
    gaps = [two.start - one.end for one, two in pairwise(mentions)]
    beside = [
        one
        for one in side
        if one not in mentions and min(abs(one.start - mentions[-1].end), abs(mentions[0].start - one.end)) <= _CLOSE
    ]
    between = [one for one in amounts if mentions[0].start < one.start < mentions[-1].end]
    return all(gap <= _CLOSE for gap in gaps) and not beside and not between


def repeated_period(sentence: str, found: Scan) -> Period | None:
    """The period that a span or list of two names twice, which says nothing: "from 2019 to 2019"."""
    for one, two in pairwise(found.periods):
        if one.period == two.period and one.period.year and _TWO_ENDS.fullmatch(sentence[one.end : two.start]):
            return one.period
    return None


def _first_run(sentence: str, mentions: list[PeriodMention]) -> tuple[Period, ...]:
    """The first period and those joined to it: "in 2019 and 2018"."""
    run = [mentions[0]]
    for mention in mentions[1:]:
        if not _JOIN.fullmatch(sentence[run[-1].end : mention.start]):
            break
        run.append(mention)
    return tuple(dict.fromkeys(mention.period for mention in run))
