"""What stands before and after the digits of a number: sign, currency, parenthesis, scale, unit."""

import re
from dataclasses import dataclass
from decimal import Decimal

from pelton.producers.reports.figures.lexing.lexicon import (
    ATTACHED_SCALES,
    CURRENCY,
    CURRENCY_NAMES,
    DASHES,
    DOLLARS,
    NAMED_BY_NUMBER,
    NOUN_UNITS,
    SCALE,
    SCALES,
    currency_of,
)
from pelton.producers.reports.figures.lexing.periods import PeriodMention
from pelton.producers.reports.figures.quantity import BASIS_POINTS, PER_SHARE, PERCENT, POINTS, TIMES, is_money

_TWO_CURRENCIES = "XXX"  # ISO 4217's code of none: "¥5 million euros" is no money that a source can have
_LOOK = 40  # characters to each side

_BEFORE = re.compile(
    rf"(?P<open>\(\s?)?(?P<sign>[{DASHES}+]\s?)?(?:(?P<currency>{CURRENCY})\s{{0,3}}['\u2019]?)?"
    rf"(?P<open2>\(\s?)?(?P<sign2>[{DASHES}]\s?)?$"
)
_NAMES = "|".join(f"{name}s?" for name in sorted(CURRENCY_NAMES, key=len, reverse=True))
_NOUNS = "|".join(f"{noun}s?" for noun in sorted(NOUN_UNITS, key=len, reverse=True) if noun != "pence") + "|pence"
_AFTER = re.compile(
    rf"""
    (?:(?P<attached>(?:{"|".join(sorted(ATTACHED_SCALES))}|bps|bp|x|p)(?![A-Za-z]))
      | \s? (?P<pct>%|per\s?cent\b|pct\b)
      | \s? -? (?P<scale>{SCALE})(?![A-Za-z]))?
    (?:\s? (?P<close>\)))?
    (?: \s? (?P<pct2>%|per\s?cent\b) | (?P<late>[mbk]n?(?![A-Za-z])) | (?P<after>\s?(?:{SCALE})(?![A-Za-z])) )?
    (?: (?:\s|-)? (?P<points>(?:percentage|basis)[\s-]points?|bps?\b|pps?\b|ppts?\b|%[\s-]points?|points?\b)
      | \s? (?P<times>times|x)\b (?!\s?\d)
      | \s? (?P<code>USD|EUR|GBP|JPY|CHF|CNY|RMB|INR|AUD|CAD|HKD|SGD|SEK|NOK|DKK|ZAR|BRL|KRW|TWD|€|£|¥)
          (?![A-Za-z]|\s?\d)
      | \s (?:U\.?S\.?\s)? (?P<name>{_NAMES})\b
      | [\s-] (?P<noun>{_NOUNS})\b )?
    (?P<share>\s?(?:per|a|/|an)\s?(?:\w{{1,9}}\s)?share\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HEDGE = re.compile(
    r"(?:approximately|about|around|roughly|nearly|almost|some|circa|ca\.|c\.|over|above|exceed\w*|[~≈])\s*(?:of\s)?$",
    re.IGNORECASE,
)
_AMOUNT_BEFORE = re.compile(r"[\d%]\s?(?:thousand|million|billion|trillion|bn|m|percent)?\s?$", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"([A-Za-z.]+)['\u2019]?s?[\s\u00a0]*\(?$")
_NAME_LIST = re.compile(r"([A-Za-z]+)\s[\d.]{1,5}(?:\([a-z]\))?(?:,\s[\d.]{1,5})*,?\s(?:and|or|to|&)\s$")
_VERB_BEFORE = re.compile(
    r"(?:^|[?:=]|\b(?:was|were|is|are|of|to|by|at|be|been|totall?ed|from|reached|and))\s*$", re.IGNORECASE
)
_ENUMERATION = re.compile(r"(?:^|[;,.:]|\band)\s*$")
_TIME = frozenset({"days", "weeks", "months", "years"})
_PERIOD_AFTER = re.compile(r"\s(?:fiscal\s)?(?:periods?|ended|ending|terms?|plan)\b", re.IGNORECASE)
_LIST_MARK = re.compile(r"(?:^|\n)\s*$")


@dataclass(frozen=True, slots=True)
class Before:
    """`start`: where the number's text begins; `negative`: a minus sign; `parenthesis`: an opening one."""

    start: int
    currency: str
    negative: bool
    parenthesis: bool


@dataclass(frozen=True, slots=True)
class After:
    """`attached`: a letter written on to the digits belongs to the number ("5m", "12.5x")."""

    end: int
    scale: int | None
    unit: str
    closes: bool
    attached: bool
    per_share: bool
    end_inside: int


def before(text: str, start: int, floor: int) -> Before:
    """The sign and currency that end at `start`; nothing before `floor` is looked at."""
    base = max(floor, start - 12)
    window = text[base:start]
    match = _BEFORE.search(window)
    if match is None or match.start() == len(window):
        return Before(start, "", negative=False, parenthesis=False)
    sign = (match.group("sign") or match.group("sign2") or "").strip()
    begin = base + match.start()
    # A dash after a word or number joins ("5-10%", "mid-2019"); a dash before a space separates ("Total - 5").
    previous = text[begin - 1 : begin]
    spaced = (match.group("sign") or "").endswith(" ") and not match.group("currency")
    joins = bool(match.group("sign")) and (previous.isalnum() or previous in {"%", ")"} or (spaced and previous != ""))
    if joins:
        begin += len(match.group("open") or "") + len(match.group("sign"))
        sign = "-" if match.group("sign2") else ""
    currency = currency_of(match.group("currency") or "")
    if match.group("currency") and text[begin - 1 : begin].isalpha() and match.group("currency")[0].isalpha():
        currency = ""
    parenthesis = bool(match.group("open2") or (match.group("open") and not joins))
    return Before(begin, currency, sign not in {"", "+"}, parenthesis)


def after(text: str, end: int) -> After:
    """The scale and unit that follow `end`."""
    match = _AFTER.match(text, end, min(len(text), end + _LOOK))
    if match is None:
        return After(end, None, "", closes=False, attached=False, per_share=False, end_inside=end)
    attached = (match.group("attached") or "").lower()
    word = (
        attached
        if attached in ATTACHED_SCALES
        else (match.group("scale") or match.group("late") or match.group("after") or "")
    )
    word = word.strip().lower()
    scale = SCALES.get(word, SCALES.get(word.removesuffix("s"))) if word else None
    unit = _unit_of(match, attached)
    inside = match.start("close") if match.group("close") else match.end()
    return After(
        match.end(), scale, unit, bool(match.group("close")), bool(attached), bool(match.group("share")), inside
    )


def _unit_of(match: re.Match[str], attached: str) -> str:
    percent = bool(match.group("pct") or match.group("pct2"))
    rate = _rate_of((match.group("points") or attached).lower(), percent=percent)
    if rate:
        return rate
    if attached == "p":
        return "pence"
    if attached == "x" or match.group("times"):
        return TIMES
    if match.group("code"):
        return currency_of(match.group("code"))
    if match.group("name"):
        return CURRENCY_NAMES[match.group("name").lower().removesuffix("s")]
    noun = (match.group("noun") or "").lower()
    return NOUN_UNITS.get(noun.removesuffix("s"), noun)


def _rate_of(points: str, *, percent: bool) -> str:
    if points.startswith(("basis", "bp")):
        return BASIS_POINTS
    if points.startswith(("percentage", "pp", "%")) or (points.startswith("point") and percent):
        return POINTS
    return PERCENT if percent else ""


def outline(text: str, left: Before, right: After, start: int, end: int) -> tuple[int, int, bool]:
    """Start and end of the number with all that belongs to it, and whether it is negative."""
    if left.parenthesis and right.closes:
        return left.start, right.end, True
    begin, stop = left.start, right.end
    if left.parenthesis:  # "(2018: 5%)": the parenthesis opens something else
        begin += len(text[begin:start]) - len(text[begin:start].lstrip("( "))
    if right.closes:
        stop = right.end_inside
    while stop > end and text[stop - 1].isspace():
        stop -= 1
    return begin, stop, left.negative


def unit(currency: str, right: After) -> str:
    if right.unit in {PERCENT, POINTS, BASIS_POINTS}:
        return right.unit  # nothing is both money and a rate
    if currency and is_money(right.unit) and currency != right.unit and not {currency, right.unit} <= DOLLARS:
        return _TWO_CURRENCIES
    if (currency and right.unit in {"", "shares", "cents"}) or (
        currency and currency != right.unit and not right.unit.isupper()
    ):
        return currency + PER_SHARE if right.per_share else currency
    if right.per_share and right.unit:
        return right.unit + PER_SHARE if right.unit.isupper() else right.unit
    return right.unit or currency


def is_name(text: str, left: int, right: int, value: Decimal, decimals: int, before: Before) -> bool:  # noqa: PLR0913, PLR0917
    """Whether a bare number only names something: "note 5", "(1)" behind a word, "1." before a line."""
    window = text[max(0, left - _LOOK) : left]
    word = _WORD_BEFORE.search(window)
    if word and word.group(1).lower().rstrip(".") + ("." if word.group(1).lower() == "no." else "") in NAMED_BY_NUMBER:
        return not _VERB_BEFORE.search(window)
    listed = _NAME_LIST.search(window)
    if listed and listed.group(1).lower() in NAMED_BY_NUMBER:
        return True
    small = value < 100 and decimals == 0 and value == abs(value)  # noqa: PLR2004  # footnotes and list marks
    if before.parenthesis and small and text[right - 1 : right] == ")":
        if _ENUMERATION.search(window) and re.match(r"\s+[A-Za-z]", text[right : right + 3]):
            return True
        return not _VERB_BEFORE.search(window)
    if small and _LIST_MARK.search(window) and re.match(r"[.)]\s+[A-Za-z]", text[right : right + 4]):
        return True
    return bool(
        small
        and re.match(r"\s?\)", text[right : right + 2])
        and re.search(r"\([A-Za-z ]{0,12}$", window) is None
        and not before.parenthesis
    )


def is_duration(text: str, right: int, unit_word: str) -> bool:
    """Whether it only says how long a period is: "a 3-year period", "the 12 months ended"."""
    return unit_word in _TIME and _PERIOD_AFTER.match(text, right) is not None


def is_hedged(text: str, left: int) -> bool:
    return _HEDGE.search(text[max(0, left - 20) : left]) is not None


def follows_amount(text: str, left: int) -> bool:
    return _AMOUNT_BEFORE.search(text[max(0, left - 14) : left]) is not None


def counts_as_amount(text: str, mention: PeriodMention) -> bool:
    """Whether what looks like a bare year is an amount: "2019 employees", "(2019) shares" have a unit behind."""
    if not mention.year_only:
        return False
    follow = after(text, mention.end)
    return follow.scale is not None or (bool(follow.unit) and follow.unit != "years" and not follow.closes)
