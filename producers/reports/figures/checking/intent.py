"""What a sentence says that its number is: a value, a change, an average, a share."""

import re
from dataclasses import dataclass

_CHANGE = re.compile(
    r"\b(?:chang\w*|increas\w*|decreas\w*|grow(?:th|n|s|ing)?|grew|declin\w*|fell|falls?|rose|rises?|risen|dropp?\w*|"
    r"differences?|differ\w*|varia(?:nce|tion)s?|fluctuat\w*|improve\w*|higher|lower|more than|less than|up|down|"
    r"exceed\w*|gained|lost|reduc\w+|expanded|movement)\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\bper\s?cent(?:age)?s?\b|%|\brate of (?:change|growth)\b|\bgrowth rate\b|\brelative\b", re.IGNORECASE
)
_AVERAGE = re.compile(r"\b(?:averag\w*|mean)\b", re.IGNORECASE)
_SUM = re.compile(
    r"\b(?:totals?|totall?ed|totall?ing|sums?|combined|aggregate\w*|together|altogether|overall|cumulative\w*|both|all)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"\b(?:ratios?|proportions?|shares? of|fraction|portions?|percent(?:age)? of|per\s?cent of|account\w* for|"
    r"represent\w*|made up|make up|contribut\w*|divided|times|relative to|multiple|consist\w*|compris\w*|"
    r"constitut\w*|weight|"
    r"margin|turnover|coverage|as a (?:percentage|percent|%))\b|% of|\bto\b.{0,40}\bratio\b",
    re.IGNORECASE,
)
_UP = re.compile(
    r"\b(?:increas\w+|grow(?:th|n|s|ing)?|grew|rose|rises?|risen|up|higher|more than|improve\w*|exceed\w*|gained)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:decreas\w+|declin\w+|fell|falls?|dropp?\w*|down|lower|less than|reduc\w+|lost|shr[iau]nk\w*)\b",
    re.IGNORECASE,
)
_EITHER = re.compile(
    r"increas\w*\s*(?:/|or|and)?\s*\(?\s*(?:/|or)?\s*\(?decreas|decreas\w*\s*(?:/|or)?\s*\(?\s*increas", re.IGNORECASE
)
_BETWEEN_TWO = re.compile(
    r"\bdifferen\w+|\bhow (?:much|many) (?:more|less|fewer|higher|lower|larger|smaller|greater)\b|\bhow many percent\b|"
    r"\bcompared (?:to|with)\b|\bmore than\b|\bless than\b|\bhigher than\b|\blower than\b|\bexceed\w*|\bgap\b|"
    r"\bnet of\b|\bminus\b|"
    r"\bfewer than\b|\bexcluding\b|\bother than\b|\bremain(?:ing|der)\b|\bapart from\b|\bbesides\b",
    re.IGNORECASE,
)
_HOW_MUCH = re.compile(
    r"\bhow (?:much|many)(?: percent\w*)? (?:more|less|fewer|higher|lower|larger|smaller|greater)\b", re.IGNORECASE
)
_HEDGED = r"\s(?:about\s|approximately\s|nearly\s|a\s|an\s)*$"
_VALUE_BEFORE = re.compile(
    r"\b(?:to|from|at|was|were|is|are|totall?ed|totall?ing|reached|stood at|amounted to|equall?ed|versus|vs\.?|than|"
    rf"compared to|compared with){_HEDGED}",
    re.IGNORECASE,
)
_CHANGE_BEFORE = re.compile(
    r"\b(?:by|an?|up|down|grew|rose|fell|increased|decreased|declined|dropped|"
    rf"(?:increase|decrease|growth|decline|change|rise|drop|fall|reduction|gain|improvement|difference)s? of){_HEDGED}",
    re.IGNORECASE,
)
_PRIOR_BEFORE = re.compile(rf"\b(?:from|versus|vs\.?|compared (?:to|with)|against|than){_HEDGED}", re.IGNORECASE)
_DIFFERENCE = re.compile(r"\bdifferences?\b|\bdiffer(?:s|ed)?\b", re.IGNORECASE)
_DIRECTED = re.compile(r"\b(?:chang|increas|decreas|grow|grew|declin|fell|rose|ris)\w*", re.IGNORECASE)
_COUNT = re.compile(
    r"\bhow many\b(?!\s(?:percent\w*|per cent|basis|points?|thousand|million|billion|more|fewer|less))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Intent:
    """What the words claim. Several may hold ("change in the average").

    `before`: the number is what a change started from ("down from 5"). `unsigned`: a difference without a direction.
    `distance`: "how much more", which is never negative.
    """

    change: bool = False
    relative: bool = False
    average: bool = False
    sum: bool = False
    share: bool = False
    difference: bool = False
    up: bool = False
    down: bool = False
    unsigned: bool = False
    before: bool = False
    distance: bool = False
    value: bool = True
    count: bool = False


def intent_of(sentence: str, start: int, end: int, *, is_rate: bool) -> Intent:
    """The intent for the number at `start`..`end` of its sentence. `is_rate`: it is written with a percent sign."""
    words = sentence[:start] + " " + sentence[end:]
    before = sentence[max(0, start - 40) : start]
    asked = sentence.rfind("?", 0, start) >= 0 or before.rstrip().endswith(":")
    change = _CHANGE.search(words) is not None
    up, down = _direction(sentence, start, words)
    value = not change or (
        not asked and (_VALUE_BEFORE.search(before) is not None or not _CHANGE_BEFORE.search(before))
    )
    return Intent(
        change=change,
        relative=is_rate or _RELATIVE.search(words) is not None,
        average=_AVERAGE.search(words) is not None,
        sum=_SUM.search(words) is not None,
        share=_SHARE.search(words) is not None or (is_rate and not change),
        difference=_BETWEEN_TWO.search(words) is not None,
        up=up,
        down=down,
        distance=_HOW_MUCH.search(words) is not None,
        before=change and _PRIOR_BEFORE.search(before) is not None,
        unsigned=_DIFFERENCE.search(words) is not None and _DIRECTED.search(words) is None,
        value=value,
        count=_COUNT.search(words) is not None,
    )


def _direction(sentence: str, start: int, words: str) -> tuple[bool, bool]:
    """Whether the words say up or down; where they say both, the nearest before the number counts."""
    if _EITHER.search(words):
        return False, False
    up, down = _UP.search(words) is not None, _DOWN.search(words) is not None
    if up and down:
        last_up = max((match.end() for match in _UP.finditer(sentence, 0, start)), default=-1)
        last_down = max((match.end() for match in _DOWN.finditer(sentence, 0, start)), default=-1)
        return last_up > last_down, last_down > last_up
    return up, down


def speaks_of_change(text: str) -> bool:
    return _CHANGE.search(text) is not None


def speaks_of_average(text: str) -> bool:
    return _AVERAGE.search(text) is not None
