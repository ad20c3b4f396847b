"""Periods and dates: found in text, told apart from amounts, and compared."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from pelton.producers.reports.figures.lexing.lexicon import DASHES, MONTH, MONTHS, QUARTERS

_FIRST_YEAR, _LAST_YEAR = 1900, 2099
_CENTURY = 2000
_LATEST_END = 7  # January
_NEAR = 40  # characters between a part of a year and its year
_MAX_PARTS = 5
_LONGEST_KEPT = 200
_DIGIT = re.compile(r"\d")
_PART = re.compile(r"\b(?:quarter|half)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Period:
    """A year, with the month, day or part of the year where the text names them.

    `year` is 0 for "December 31" or "fourth quarter" without one. `part` is `Q1`..`Q4`, `H1`, `H2` or empty.
    """

    year: int = 0
    month: int = 0
    part: str = ""
    day: int = 0

    def agrees_with(self, other: "Period") -> bool:
        """Whether nothing that both name differs; a fiscal year of weeks may end in the first days of the next."""
        if _ends_fiscal_year(self, other) or _ends_fiscal_year(other, self):
            return True
        pairs = ((self.year, other.year), (self.month, other.month), (self.part, other.part), (self.day, other.day))
        return all(not mine or not yours or mine == yours for mine, yours in pairs)

    def __str__(self) -> str:
        month = f"{self.year}-{self.month:02}" if self.month else str(self.year or "")
        day = f"-{self.day:02}" if self.day and self.month else ""
        return f"{self.part} {month}{day}".strip()


def _ends_fiscal_year(day: Period, year: Period) -> bool:
    """Whether the day is one of early January that ends a year of 52 or 53 weeks: January 3, 2020 that of 2019."""
    is_bare = not year.month and not year.part
    return is_bare and day.month == 1 and 1 < day.day <= _LATEST_END and day.year == year.year + 1


@dataclass(frozen=True, slots=True)
class PeriodMention:
    """A period as it stands in a text. `year_only`: a bare year, which might as well be an amount."""

    period: Period
    start: int
    end: int
    year_only: bool = False


_YEAR = r"(?:19|20)\d\d"
_DASH = f"[{DASHES}]"
_NOT_VERB = "(?-i:(?!may))"  # "may 5" is no date, "May 5" is
_END = r"(?!\d|[,.]\d)"
_DAY = r"[0-3]?\d"
_NTH = r"(?:st|nd|rd|th)?"
_NAMED_MONTH = rf"{_NOT_VERB}(?:{MONTH})"
_PATTERN = re.compile(
    rf"""
      (?<![\w.,]) (?P<iso_y>{_YEAR}) - (?P<iso_m>0[1-9]|1[0-2]) - (?P<iso_d>[0-3]\d) (?!\d)
    | (?<![\w/.,]) (?P<s1>\d{{1,2}}) / (?P<s2>\d{{1,2}}) / (?P<s_y>{_YEAR}|\d\d) (?![\d/])
    | (?<![\w.,]) (?P<p_d>[0-3]?\d) \. (?P<p_m>0?[1-9]|1[0-2]) \. (?P<p_y>{_YEAR}) (?![\d.]\d)
    | \b (?P<m_first>{_NAMED_MONTH})\.? \s{{1,3}} (?P<m_day>{_DAY}){_NTH} (?![\d.%/]|,\d)
        (?:\s?,?\s{{0,3}} (?P<m_year>{_YEAR}) {_END})?
    | (?<![\w.,$€£]) (?P<d_day>{_DAY}){_NTH} (?:\sof)? \s{{1,2}} (?P<d_month>{_NAMED_MONTH})\b \.?
        (?:,?\s{{0,3}} (?P<d_year>{_YEAR}) {_END})?
    | \b (?P<my_month>{_NAMED_MONTH})\.? (?:\s? ,? \s{{0,2}} | -) (?P<my_year>{_YEAR}|'\d\d|(?<=-)\d\d) {_END}
    | \b (?:(?P<q1>Q[1-4]|H[12])|(?P<q2>[1-4])Q) [\s,]{{0,2}} (?:of\s|FY\s?|fiscal\s|{_DASH})? \s? '?
        (?P<q_year>{_YEAR}(?!\d)|\d\d(?!\d|[.,]\d|\s?%))
    | (?<!\w) (?P<yq_year>{_YEAR}) \s? (?P<yq>Q[1-4]|H[12]) \b
    | \b (?P<q_alone>Q[1-4]|H[12]) \b
    | \b (?P<q_listed>first|second|third|fourth)
        (?=,?\s(?:and|to|or|versus|vs\.?|over)\s(?:the\s)?(?:first|second|third|fourth)\s(?P<listed>quarter|half))
    | \b (?P<q_word>first|second|third|fourth) [\s-] (?P<q_kind>quarter|half) \b
        (?:\s (?:of\s)?(?:the\s)?(?:fiscal\s)?(?:year\s)?(?:FY)? (?P<qw_year>{_YEAR}) {_END})?
    | \b FYE?\s?'? (?P<fy>{_YEAR}|\d\d) (?: [/{DASHES}] (?P<fy_end>{_YEAR}|\d\d) )? (?![\d]|[.,]\d|\s?%)
    | \b F (?P<f>\d\d) \b
    | (?<![\w.,$€£¥/{DASHES}]) (?P<y1>{_YEAR}) \s? [/{DASHES}] \s? (?P<y2>{_YEAR}|\d\d) (?![\w%/]|[,.]\d)
    | (?: (?<![\w.,$€£¥+]) | (?<=[12][09]\d\d,) ) (?P<year>{_YEAR})
        (?![\w%]|\.\d|,\d{{1,3}}(?!\d)|\s(?:million|billion|thousand|trillion|per\scent|percent))
    | (?<![\w.,]) (?P<spaced>[12]\s[09]\s\d\s\d) (?![\s]?\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def mentions(text: str) -> tuple[PeriodMention, ...]:
    """The periods and dates of a text in order, not overlapping. A span of years gives each of its ends."""
    return _of_header(text) if len(text) <= _LONGEST_KEPT else _mentions(text)


def _mentions(text: str) -> tuple[PeriodMention, ...]:
    if not _DIGIT.search(text) and not _PART.search(text):
        return ()
    found: list[PeriodMention] = []
    for match in _PATTERN.finditer(text):
        start, end = match.span()
        year_only = match.group("year") is not None
        found += [PeriodMention(period, start, end, year_only) for period in _read(match)]
    return tuple(_with_years(found))


# Headers and labels are read again for each of their cells.
_of_header = lru_cache(maxsize=8192)(_mentions)


def _with_years(found: list[PeriodMention]) -> list[PeriodMention]:
    """Parts take the year that stands by them: "Q1 and Q2 of fiscal 2019", "June 30 and December 31, 2019"."""
    complete: list[PeriodMention] = []
    givers: set[int] = set()
    for index, mention in enumerate(found):
        giver = None if mention.period.year else _year_giver(found, index)
        if giver is None:
            complete.append(mention)
            continue
        complete.append(replace(mention, period=replace(mention.period, year=found[giver].period.year)))
        if found[giver].period == Period(found[giver].period.year):
            givers.add(giver)
    return [mention for index, mention in enumerate(complete) if index not in givers]


def _year_giver(found: list[PeriodMention], index: int) -> int | None:
    """The next mention with a year, or else the one before, if it is close."""
    for other in range(index + 1, min(index + _MAX_PARTS, len(found))):
        if found[other].start - found[index].end > _NEAR:
            break
        if found[other].period.year:
            return other
    before = index - 1
    is_near = before >= 0 and found[index].start - found[before].end <= _NEAR
    return before if is_near and found[before].period.year and not found[before].period.month else None


def periods(text: str) -> tuple[Period, ...]:
    """The distinct periods of a header or sentence, in order of mention."""
    return tuple(dict.fromkeys(mention.period for mention in mentions(text)))


def _read(match: re.Match[str]) -> list[Period]:
    groups = {name: value for name, value in match.groupdict().items() if value}
    for names, build in _BUILDERS:
        if names in groups:
            return build(groups)
    return []


def _iso(groups: dict[str, str]) -> list[Period]:
    return [Period(int(groups["iso_y"]), int(groups["iso_m"]), day=int(groups["iso_d"]))]


def _slashed(groups: dict[str, str]) -> list[Period]:
    first, second, year = int(groups["s1"]), int(groups["s2"]), _year(groups["s_y"])
    if max(first, second) > 12 and min(first, second) <= 12:  # noqa: PLR2004  # months of a year
        return [Period(year, min(first, second), day=max(first, second))]
    return [Period(year)]


def _month_first(groups: dict[str, str]) -> list[Period]:
    return [Period(_year(groups.get("m_year")), _month(groups["m_first"]), day=int(groups["m_day"]))]


def _day_first(groups: dict[str, str]) -> list[Period]:
    return [Period(_year(groups.get("d_year")), _month(groups["d_month"]), day=int(groups["d_day"]))]


def _month_year(groups: dict[str, str]) -> list[Period]:
    return [Period(_year(groups["my_year"].lstrip("'")), _month(groups["my_month"]))]


def _quarter(groups: dict[str, str]) -> list[Period]:
    part = groups["q1"].upper() if "q1" in groups else f"Q{groups['q2']}"
    return [Period(_year(groups["q_year"]), part=part)]


def _quarter_words(groups: dict[str, str]) -> list[Period]:
    return [Period(_year(groups.get("qw_year")), part=_part(groups["q_kind"], groups["q_word"]))]


def _part(kind: str, ordinal: str) -> str:
    return f"{'Q' if kind.lower() == 'quarter' else 'H'}{QUARTERS[ordinal.lower()]}"


def _fiscal(groups: dict[str, str]) -> list[Period]:
    return [Period(_year(groups.get("fy_end") or groups["fy"]))]


def _span(groups: dict[str, str]) -> list[Period]:
    first, last = int(groups["y1"]), _year(groups["y2"])
    if len(groups["y2"]) == 2 and last == first + 1:  # noqa: PLR2004  # "2018/19" is one fiscal year
        return [Period(last)]
    return [Period(first), Period(last)]


_BUILDERS = (
    ("iso_y", _iso),
    ("s_y", _slashed),
    ("p_y", lambda groups: [Period(int(groups["p_y"]), int(groups["p_m"]), day=int(groups["p_d"]))]),
    ("m_first", _month_first),
    ("d_month", _day_first),
    ("my_month", _month_year),
    ("q_year", _quarter),
    ("yq", lambda groups: [Period(_year(groups["yq_year"]), part=groups["yq"].upper())]),
    ("q_alone", lambda groups: [Period(part=groups["q_alone"].upper())]),
    ("q_listed", lambda groups: [Period(part=_part(groups["listed"], groups["q_listed"]))]),
    ("q_word", _quarter_words),
    ("fy", _fiscal),
    ("f", lambda groups: [Period(_year(groups["f"]))]),
    ("y1", _span),
    ("year", lambda groups: [Period(int(groups["year"]))]),
    ("spaced", lambda groups: [Period(int("".join(groups["spaced"].split())))]),
)


def _year(digits: str | None) -> int:
    if not digits:
        return 0
    year = int(digits)
    year = year if year >= _FIRST_YEAR else _CENTURY + year
    return year if year <= _LAST_YEAR else 0


def _month(name: str) -> int:
    return MONTHS[name.lower().rstrip(".")]
