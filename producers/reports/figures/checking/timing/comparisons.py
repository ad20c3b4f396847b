"""Periods that a sentence implies by another: what is compared with one, and "a year earlier"."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pelton.producers.reports.figures.lexing.lexer import Number, Scan
from pelton.producers.reports.figures.lexing.periods import Period, PeriodMention

_LOOK = 60
# Words that may stand between "compared to" and the period: "the figure for the three months ended".
_WORDS = r"(?:[A-Za-z'\u2019-]+\s){0,6}"
_COMPARED = re.compile(
    rf"(?:\b(?:compared\s(?:to|with)|versus|vs\.?|against|than|above|below|over|relative\sto|(?:up|down|%)\son)\s{_WORDS}"
    r"|\bfrom\s(?:the\s)?(?:(?:same|prior-year|corresponding)\s)?(?:fiscal\s|financial\s)?"
    r"(?:years?\s|(?:quarter|period|half|months|weeks)\s(?:of\s|in\s|ended\s)?)?)$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s(?:to|through|until|and)\s(?:\w+\s){0,4}$", re.IGNORECASE)
_MOVED = re.compile(
    r"\b(?:increas|decreas|gr[eo]w|declin|fell|fall|rose|rise|ris|up|down|higher|lower|above|below|more|less|chang|improv|gain|"
    r"drop|reduc|compared|versus|vs)",
    re.IGNORECASE,
)
_YEAR_EARLIER = re.compile(
    r"\s*,?\s*\(?(?:in\s|for\s|at\s|during\s|of\s)?(?:a|one|the)\s(?:full\s)?year\s(?:earlier|ago|before|previously|prior)\b"
    r"|\s*,?\s*\(?(?:in|for|at|during|of)\s(?:the\s)?(?:end\sof\s)?(?:the\s)?(?:(?:same|corresponding|comparable|equivalent)\s"
    r"(?:\w+\s)?(?:quarter|period|half|months)\s(?:(?:of|in)\s)?)?(?:the\s)?(?:prior|previous|preceding|last)[\s-]"
    r"(?:fiscal\s|financial\s)?year(?:['\u2019]s)?\b"
    r"|\s*,?\s*\(?(?:in|for)\s(?:the\s)?year-(?:ago|earlier)\b"
    r"|\s*,?\s*\(?last\syear\b",
    re.IGNORECASE,
)
_EARLIER_BEFORE = re.compile(
    r"\b(?:prior|previous|preceding|last)[\s-]year(?:['\u2019]s)?(?:\s(?:quarter|period|figure|level|result)(?:['\u2019]s)?)?"
    r"\s?(?::|of|was|were|from)?\s?(?:[$€£¥]|about\s|nearly\s)?$",
    re.IGNORECASE,
)
_FROM = re.compile(r"\bfrom\s(?:about\s|approximately\s|nearly\s|a\s|an\s|(?:net\s)?loss\sof\s)*$", re.IGNORECASE)
_TO = re.compile(r"\s?to\s(?:about\s|approximately\s|nearly\s)?[-(]?[$€£¥A-Z]{0,4}\s?[-(]?\d", re.IGNORECASE)


def is_compared(sentence: str, found: Scan, mention: PeriodMention) -> bool:
    """Whether other numbers are compared with this period: no amount stands between it and the comparing word."""
    window = sentence[max(0, mention.start - _LOOK) : mention.start]
    match = _COMPARED.search(window)
    if match is None or not _MOVED.search(sentence):
        return False
    begin = mention.start - len(window) + match.start()
    if any(begin < number.start < mention.start for number in found.amounts):
        return False
    following = next((other for other in found.periods if other.start >= mention.end), None)
    is_span = following is not None and _GOES_ON.fullmatch(sentence[mention.end : following.start])
    return not (is_span and window[match.start() :].lower().startswith("from"))


def is_earlier(sentence: str, number: Number) -> bool:
    """Whether the number is said of the year before: "$5 a year earlier", or of the first end of "from $5 to $6"."""
    if _YEAR_EARLIER.match(sentence, number.end):
        return True
    before = sentence[max(0, number.start - _LOOK) : number.start]
    return _EARLIER_BEFORE.search(before) is not None


def is_first_end(sentence: str, number: Number) -> bool:
    before = sentence[max(0, number.start - _LOOK) : number.start]
    return _FROM.search(before) is not None and _TO.match(sentence, number.end) is not None


def earlier(periods: Sequence[Period], *, by_quarter: bool = False) -> tuple[Period, ...]:
    """The same of the year before; `by_quarter`: or the quarter before."""
    return _shifted(periods, -1, by_quarter=by_quarter)


def later(periods: Sequence[Period]) -> tuple[Period, ...]:
    """What is compared with these: the same of the next year, or the next quarter."""
    return _shifted(periods, 1, by_quarter=True)


def _shifted(periods: Sequence[Period], by: int, *, by_quarter: bool) -> tuple[Period, ...]:
    moved = [replace(period, year=period.year + by) for period in periods if period.year]
    if by_quarter:
        moved += [_quarter(period, by) for period in periods if period.year and period.part.startswith("Q")]
    return tuple(dict.fromkeys(moved))


def _quarter(period: Period, by: int) -> Period:
    place = period.year * 4 + int(period.part[1:]) - 1 + by
    return replace(period, year=place // 4, part=f"Q{place % 4 + 1}")
