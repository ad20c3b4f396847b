"""Finds the numbers of a text, and tells amounts from dates, ordinals and numbers that are only names.

Every pattern is anchored to a run of digits and looks a bounded way to both sides, so the time is linear in the text.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, replace
from decimal import Decimal

from pelton.producers.reports.figures.lexing import number_context as around
from pelton.producers.reports.figures.lexing.digits import read_digits
from pelton.producers.reports.figures.lexing.lexicon import DASHES
from pelton.producers.reports.figures.lexing.number_words import number_words
from pelton.producers.reports.figures.lexing.periods import PeriodMention, mentions
from pelton.producers.reports.figures.quantity import PLAIN, Quantity

AMOUNT = "amount"
NAME = "name"
ORDINAL = "ordinal"
UNREADABLE = "unreadable"

# Digits with their separators; two groups joined by a plain space are two numbers.
_DIGITS = re.compile(r"\d(?:[\d]|[.,'\u2019\u00a0\u202f\u2009](?=\d))*+")
_MAX_DIGITS = 40  # longer runs are identifiers
_IDENTIFIER_BEFORE = re.compile(r"[A-Za-z_#/\\][-\u2010\u2011.]?$|\d[.,]$|[A-Za-z]\d*[-\u2010\u2011]$")
_IDENTIFIER_AFTER = re.compile(r"[-\u2010\u2011](?=[A-Z]{1,2}\b)|\((?=[a-z]{1,3}\))|[A-Za-z_]")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b", re.IGNORECASE)
_RANGE = re.compile(rf"\s?[{DASHES}]\s?|\s(?:to|and|through)\s", re.IGNORECASE)
# "Notes due 2028" is what they are called, and no time that the sentence speaks of.
_DUE = re.compile(
    r"\b(?:notes|bonds|debentures|loans?|securities|facility)\s(?:due|maturing|expiring)\s(?:in\s)?$", re.IGNORECASE
)
_DUE_LOOK = 32
_BETWEEN = re.compile(r"\bbetween\s$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a text.

    Args:
        kind: `amount`, `name` ("note 5", "10-K"), `ordinal`, or `unreadable` ("45,00,1822,4").
            Dates and years are `PeriodMention`s.
        aside: a parenthesis that may be an aside ("$5 million (4.3%)") as well as an accounting negative.
        about: the text hedges: "approximately", "nearly", "over".

    """

    text: str
    start: int
    end: int
    kind: str
    quantity: Quantity
    aside: bool = False
    about: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """What stands in a text: its numbers and its periods, each in order."""

    numbers: tuple[Number, ...]
    periods: tuple[PeriodMention, ...]

    @property
    def amounts(self) -> tuple[Number, ...]:
        return tuple(number for number in self.numbers if number.kind == AMOUNT)


def scan(text: str) -> Scan:
    """All numbers and periods of a text. Never raises."""
    dates = [mention for mention in mentions(text) if not around.counts_as_amount(text, mention)]
    taken = [(mention.start, mention.end) for mention in dates]
    numbers = [number for number in _digit_numbers(text, taken) if number is not None]
    spans = sorted([(number.start, number.end) for number in numbers] + taken)
    numbers += [
        Number(text[start:end], start, end, AMOUNT, quantity)
        for start, end, quantity in number_words(text)
        if not _overlaps(spans, start, end)
    ]
    numbers.sort(key=lambda number: number.start)
    periods = tuple(
        mention for mention in dates if not _DUE.search(text[max(0, mention.start - _DUE_LOOK) : mention.start])
    )
    return Scan(tuple(_share_scale_in_ranges(text, numbers)), periods)


def _overlaps(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether one of the sorted spans, which do not overlap each other, shares a character with `start`..`end`."""
    place = bisect_left(spans, (end, end))
    return place > 0 and spans[place - 1][1] > start


def _digit_numbers(text: str, taken: list[tuple[int, int]]) -> list[Number | None]:
    found: list[Number | None] = []
    upcoming = iter([*taken, (len(text) + 1, len(text) + 1)])
    date = next(upcoming)
    end_of_last = 0
    for match in _DIGITS.finditer(text):
        while date[1] <= match.start():
            date = next(upcoming, (len(text) + 1, len(text) + 1))
        if date[0] < match.end() and match.start() < date[1]:
            continue
        number = _number_at(text, match.start(), match.end(), end_of_last)
        found.append(number)
        end_of_last = number.end if number else match.end()
    return found


def _number_at(text: str, start: int, end: int, floor: int) -> Number | None:
    """The number whose digits are `text[start:end]`; nothing before `floor` belongs to it."""
    read = read_digits(text[start:end])
    if read is None or end - start > _MAX_DIGITS:
        kind = UNREADABLE if "," in text[start:end] or end - start > _MAX_DIGITS else NAME  # "1.2.3" is a name
        return Number(text[start:end], start, end, kind, Quantity(Decimal(0)))
    value, decimals = read
    if text[start - 1 : start] == "." and start - 1 >= floor and not text[start - 2 : start - 1].isalnum():
        value, decimals, start = value.scaleb(start - end), end - start, start - 1  # ".5"
    after = around.after(text, end)
    ordinal = _ORDINAL.match(text, end)
    if ordinal:
        return Number(text[start : ordinal.end()], start, ordinal.end(), ORDINAL, Quantity(value))
    if after.scale is None and not after.unit and _IDENTIFIER_AFTER.match(text, end):
        return Number(text[start:end], start, end, NAME, Quantity(value, decimals=decimals))
    before = around.before(text, start, floor)
    if not before.currency and _IDENTIFIER_BEFORE.search(text[max(0, start - 8) : start]):
        return Number(text[start:end], start, end, NAME, Quantity(value, decimals=decimals))
    left, right, negative = around.outline(text, before, after, start, end)
    quantity = Quantity(
        -value if negative else value,
        after.scale or 0,
        around.unit(before.currency, after),
        decimals,
        scale_known=after.scale is not None,
    )
    named = around.is_duration(text, right, quantity.unit) or (
        quantity.unit == PLAIN and after.scale is None and around.is_name(text, left, right, value, decimals, before)
    )
    return Number(
        text[left:right],
        left,
        right,
        NAME if named else AMOUNT,
        quantity,
        aside=before.parenthesis and around.follows_amount(text, left),
        about=around.is_hedged(text, left),
    )


def _share_scale_in_ranges(text: str, numbers: list[Number]) -> list[Number]:
    """The first end of a range takes scale and unit from the second: "$5 to 10 million", "5-10%"."""
    shared = list(numbers)
    for index in range(len(shared) - 1):
        first, second = shared[index], shared[index + 1]
        joined = _RANGE.fullmatch(text[first.end : second.start]) if second.start - first.end <= 9 else None  # noqa: PLR2004  # " through "
        if (
            joined
            and joined.group().strip() == "and"
            and not _BETWEEN.search(text[max(0, first.start - 8) : first.start])
        ):
            continue
        if not joined or first.kind != AMOUNT or second.kind != AMOUNT or first.quantity.scale_known:
            continue
        quantity = first.quantity
        unit = quantity.unit or second.quantity.unit
        if unit == second.quantity.unit or not second.quantity.unit:
            scale_known = second.quantity.scale_known
            scale = second.quantity.scale if scale_known and not _is_larger(first, second) else quantity.scale
            shared[index] = replace(
                first, quantity=replace(quantity, unit=unit, scale=scale, scale_known=scale_known and scale > 0)
            )
    return shared


def _is_larger(first: Number, second: Number) -> bool:
    """Whether the first end has its scale written out: "900,000 to 1.2 million"."""
    return abs(first.quantity.value) >= 1000 * max(abs(second.quantity.value), Decimal(1))  # one scale word apart
