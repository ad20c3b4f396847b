"""What a sentence says that its number is: a value, a change, an average, a share."""

import re
from dataclasses import dataclass
from functools import lru_cache

_VERBS_UP = (
    r"widen\w*|rais(?:e[sd]?|ing)|lift(?:s|ed)?|boost\w*|accelerat\w*|"
    r"tripl\w*|quadrupl\w*|climb\w*|surg\w+|soar\w*|jump\w*|advanc(?:es?|ed)|rall(?:y|ied)|strengthen\w*|rebound\w*"
)
_VERBS_DOWN = (
    r"narrow(?:s|ed|ing)|soften\w*|moderat(?:es|ed)|trimm(?:ed|ing)|cut(?:s|ting)?|retreat\w*|"
    r"contract(?:ed|ing)|shr[iau]nk\w*|slump\w*|plung\w+|plummet\w*|slip(?:s|ped)?|slid(?:es?|ing)?|dip(?:s|ped)?|"
    r"eas(?:es|ed)|weaken\w*|sank|tumbl\w+|diminish\w*"
)
_RISEN = r"(?<!made )(?<!make )(?<!makes )(?<!added )(?<!add )(?<!adds )up"
_CHANGE = re.compile(
    r"\b(?:chang\w*|increas\w*|decreas\w*|grow(?:th|n|s|ing)?|grew|declin\w*|fell|falls?(?!\sdue)|rose|rises?|risen|dropp?\w*|"
    rf"differences?|differ\w*|varia(?:nce|tion)s?|fluctuat\w*|improve\w*|higher|lower|more than|less than|{_RISEN}|"
    r"down|exceed\w*|gained|lost|reduc\w+|worsen\w*|deteriorat\w*|add(?:ed|ing|s)?(?=\s(?:a|an|net|some|about|\d))|"
    r"expand\w*|mov(?:e[sd]?|ements?|ing)|shift\w*|sw[iu]ng\w*|double[sd]?|halve[sd]?|"
    rf"{_VERBS_UP}|{_VERBS_DOWN})\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\bper\s?cent(?:age)?s?\b|%|\brate of (?:change|growth)\b|\bgrowth rate\b|\brelative\b", re.IGNORECASE
)
_AVERAGE = re.compile(r"\b(?:averag\w*|mean)\b", re.IGNORECASE)
_SUM = re.compile(
    r"\b(?:totals?|totall?ed|totall?ing|sums?|combined|aggregate\w*|together|altogether|overall|cumulative\w*|both|all|plus|"
    r"add(?:s|ed)?\s(?:up|together))\b",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"\b(?:ratios?|proportions?|shares? of|fraction|portions?|percent(?:age)? of|per\s?cent of|account\w* for|"
    r"represent\w*|made up|make up|contribut\w*|divided|times|relative to|multiple|consist\w*|compris\w*|"
    r"constitut\w*|weight|"
    r"margin|turnover|coverage|as a (?:percentage|percent|%))\b|% of|\bto\b.{0,40}\bratio\b",
    re.IGNORECASE,
)
# What is better may be more or less: a margin that improved rose, a loss ratio fell.
_BETTER = re.compile(r"\b(?:improv\w*|worsen\w*|deteriorat\w*|better|worse)\b", re.IGNORECASE)
_UP = re.compile(
    rf"\b(?:increas\w+|grow(?:th|n|s|ing)?|grew|rose|rises?|risen|{_RISEN}|higher|more than|exceed\w*|gained|"
    rf"expand\w*|{_VERBS_UP})\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:decreas\w+|declin\w+|fell|falls?|dropp?\w*|down|lower|less than|reduc\w+|lost|"
    rf"{_VERBS_DOWN})\b",
    re.IGNORECASE,
)
_EITHER = re.compile(
    r"increas\w*\s*(?:/|or|and)?\s*\(?\s*(?:/|or)?\s*\(?decreas|decreas\w*\s*(?:/|or)?\s*\(?\s*increas", re.IGNORECASE
)
_BETWEEN_TWO = re.compile(
    r"\bdifferen\w+|\bhow (?:much|many) (?:more|less|fewer|higher|lower|larger|smaller|greater)\b|\bhow many percent\b|"
    r"\bcompared (?:to|with)\b|\bmore than\b|\bless than\b|\bhigher than\b|\blower than\b|\bexceed\w*|\bgap\b|"
    r"\bnet of\b|\bminus\b|\bwithout\b|\bless\b(?! than)|"
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
    rf"\b(?:by|an?|up|down|grew|rose|fell|increased|decreased|declined|dropped|{_VERBS_UP}|{_VERBS_DOWN}|"
    rf"(?:increase|decrease|growth|decline|change|rise|drop|fall|reduction|gain|improvement|difference)s? of){_HEDGED}",
    re.IGNORECASE,
)
# "Credits reduced the provision by 5": 5 is what the credits are.
_EFFECT_BEFORE = re.compile(
    r"\b(?:reduc|lower|increas|rais|cut|boost|trimm|depress|lift|improv|benefit)\w*\s(?:the|our|its|their|net|total|reported)\s"
    rf"(?:[\w'-]+\s){{1,5}}by{_HEDGED}",
    re.IGNORECASE,
)
_FURTHER_BEFORE = re.compile(r"\b(?:further|additional|extra|another|net)\s(?:net\s)?$", re.IGNORECASE)
_PRIOR_BEFORE = re.compile(rf"\b(?:from|versus|vs\.?|compared (?:to|with)|against|than){_HEDGED}", re.IGNORECASE)
_DIFFERENCE = re.compile(r"\bdifferences?\b|\bdiffer(?:s|ed)?\b", re.IGNORECASE)
_DIRECTED = re.compile(r"\b(?:chang|increas|decreas|grow|grew|declin|fell|rose|ris)\w*", re.IGNORECASE)
_REMAINDER = re.compile(
    r"\b(?:without|excluding|except|other than|apart from|besides|net of|remain(?:s|ing|der))\b", re.IGNORECASE
)
_PRODUCT = re.compile(r"\b(?:multipl\w+|value|worth|prices?|priced|proceeds|cost)\b", re.IGNORECASE)
_COUNT = re.compile(
    r"\bhow many\b(?!\s(?:percent\w*|per cent|basis|points?|thousand|million|billion|more|fewer|less))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Intent:
    """What the words claim. Several may hold ("change in the average").

    `before`: the number is what a change started from ("down from 5"). `unsigned`: a difference without a direction.
    `distance`: "how much more", which is never negative. `remainder`: a thing without another.
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
    remainder: bool = False
    product: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    """What a sentence says of all its numbers."""

    change: bool
    average: bool
    sum: bool
    difference: bool
    distance: bool
    unsigned: bool
    count: bool
    remainder: bool
    product: bool
    either: bool
    up: bool
    down: bool


@lru_cache(maxsize=64)  # a sentence is asked about for each of its numbers
def _said(sentence: str) -> _Said:
    def says(pattern: re.Pattern[str]) -> bool:
        return pattern.search(sentence) is not None

    return _Said(
        change=says(_CHANGE),
        average=says(_AVERAGE),
        sum=says(_SUM),
        difference=says(_BETWEEN_TWO),
        distance=says(_HOW_MUCH),
        unsigned=(says(_DIFFERENCE) and not says(_DIRECTED)) or (says(_BETTER) and not says(_UP) and not says(_DOWN)),
        count=says(_COUNT),
        remainder=says(_REMAINDER),
        product=says(_PRODUCT),
        either=says(_EITHER),
        up=says(_UP),
        down=says(_DOWN),
    )


def intent_of(sentence: str, start: int, end: int, *, is_rate: bool) -> Intent:
    """The intent for the number at `start`..`end` of its sentence. `is_rate`: it is written with a percent sign."""
    said = _said(sentence)
    words = sentence[:start] + " " + sentence[end:]
    before = sentence[max(0, start - 40) : start]
    asked = sentence.rfind("?", 0, start) >= 0 or before.rstrip().endswith(":")
    up, down = _direction(sentence, start, said)
    value = not said.change or (
        not asked and (_VALUE_BEFORE.search(before) is not None or not _CHANGE_BEFORE.search(before))
    )
    return Intent(
        change=said.change or _FURTHER_BEFORE.search(before) is not None,
        relative=is_rate or _RELATIVE.search(words) is not None,
        average=said.average,
        sum=said.sum,
        share=_SHARE.search(words) is not None or (is_rate and not said.change),
        difference=said.difference,
        up=up,
        down=down,
        distance=said.distance,
        before=said.change and _PRIOR_BEFORE.search(before) is not None,
        unsigned=said.unsigned,
        value=value or _EFFECT_BEFORE.search(sentence[max(0, start - 80) : start]) is not None,
        count=said.count,
        remainder=said.remainder,
        product=said.product,
    )


def _direction(sentence: str, start: int, said: _Said) -> tuple[bool, bool]:
    """Whether the words say up or down; where they say both, the nearest before the number counts."""
    if said.either:
        return False, False
    if said.up and said.down:
        last_up = max((match.end() for match in _UP.finditer(sentence, 0, start)), default=-1)
        last_down = max((match.end() for match in _DOWN.finditer(sentence, 0, start)), default=-1)
        return last_up > last_down, last_down > last_up
    return said.up, said.down


def speaks_of_change(text: str) -> bool:
    return _CHANGE.search(text) is not None


def speaks_of_average(text: str) -> bool:
    return _AVERAGE.search(text) is not None
