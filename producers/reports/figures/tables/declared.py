"""What headers and captions declare for the numbers under them: "(in thousands, except per share data)", "€m", "%"."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pelton.producers.reports.figures.lexing.lexicon import CURRENCY, CURRENCY_NAMES, NOUN_UNITS, SCALES, currency_of
from pelton.producers.reports.figures.quantity import BASIS_POINTS, PERCENT, PLAIN, TIMES

_SCALE_WORDS = r"hundreds?|thousands?|millions?|billions?|trillions?|lakhs?|crores?"
_SCALE = re.compile(
    rf"\bin\s(?:\w+\s(?:of\s)?){{0,3}}?(?P<in>{_SCALE_WORDS})\b"
    rf"|(?P<of>{_SCALE_WORDS})\sof\b"
    rf"|(?<!per\s)(?P<cur1>{CURRENCY})\s?(?P<word>{_SCALE_WORDS})\b"
    rf"|(?P<cur2>{CURRENCY})\s?['\u2018\u2019`]?\s?(?P<zeros>0{{2,3}})s?\b"
    rf"|['\u2018\u2019`](?P<zeros2>000)s?\b|\((?P<zeros3>000)s?\)"
    rf"|(?P<cur3>{CURRENCY}|USD)\s?(?P<letter>mn|m|bn|b|k|MM)\b"
    rf"|(?:^|[(,/\s])(?P<lone>{_SCALE_WORDS}|mn|bn|MM)(?=$|[),.;:\s/])",
    re.IGNORECASE,
)
_SHORT = r"(?:mn|bn|m|k)(?![A-Za-z])"
_MONEY = rf"(?:{CURRENCY}|US|dollars|euros|pounds|yen|francs|rupees)"
_WEAK = re.compile(
    rf"\(\s?(?:(?:all\s)?(?:\w+\s){{0,4}})?(?:in|{CURRENCY})\s?(?:\w+\s(?:of\s)?|[^\w\s()]\s?){{0,4}}?"
    rf"(?P<scale>{_SCALE_WORDS})\b"
    # "All figures in HK$ million", "amounts in EUR bn", "rounded to the nearest thousand"
    r"|\b(?:presented|stated|expressed|amounts|dollars|euros|pounds|sterling|yen|francs|rupees|figures|numbers|shown|reported"
    r"|rounded)\s(?:\w+\s){0,6}?(?:in|nearest)\s"
    rf"(?:[\w$€£¥.]+\s(?:of\s)?){{0,3}}?(?:(?P<scale2>{_SCALE_WORDS}\b|{_SHORT})|(?:US\s)?(?:{CURRENCY})\s?['\u2018\u2019]?(?P<zeros>000))"
    # "Rs crore unless stated", "Billions of yen, except per share data"
    rf"|(?:^|[.;(]\s?)(?:(?:{_MONEY}|in)\s?){{0,3}}(?P<scale3>{_SCALE_WORDS}|{_SHORT})(?:\sof\s\w+)?,?\s(?:unless|except)\b"
    rf"|\bunits?\s?:\s?(?:in\s)?(?:{_MONEY}\s?)?(?P<scale4>{_SCALE_WORDS}|{_SHORT})(?:\s(?:of\s)?\w+)?",
    re.IGNORECASE,
)
_NOUNS = "|".join(noun + "s?" for noun in NOUN_UNITS) + "|pence"
_CURRENCY = re.compile(rf"(?<![A-Za-z])(?:{CURRENCY})")
_NAME = re.compile(rf"\b(?:{'|'.join(name + 's?' for name in CURRENCY_NAMES if name != 'won')})\b", re.IGNORECASE)
# "4.125% notes due 2024" names a thing and declares nothing.
_WON = re.compile(
    r"\b(?:thousands?|millions?|billions?|trillions?|korean)\s(?:of\s)?won\b", re.IGNORECASE
)  # else a verb
_PERCENT = re.compile(r"(?<!\d)(?<!\d\s)(?:%|\bper\s?cent(?:age)?s?\b)", re.IGNORECASE)
_EXCEPT = re.compile(r"\bexcept\b|\bother\sthan\b|\bexcluding\b", re.IGNORECASE)
_PER_SHARE = re.compile(
    r"\bper\s(?:\w+\s){0,3}(?:share|unit|option|right)s?\b|\bEPS\b|\bexercise\sprice"
    r"|\bweighted[-\s]average\s(?:grant|exercise|price)",
    re.IGNORECASE,
)
_NUMBER_OF = re.compile(r"\b(?:number|no\.?)\sof\b|\((?:number|no\.|count)\)|\bheadcount\b|#", re.IGNORECASE)
_IN_NOUN = re.compile(
    rf"\((?:in\s)?(?:(?:{_SCALE_WORDS}|mn|bn|m)\s(?:of\s)?)?(?P<noun>{_NOUNS})\b[^()]{{0,20}}\)", re.IGNORECASE
)
_SHARES = re.compile(r"\b(?:shares?|units)\s(?:are\s)?(?:data\s)?in\s(?P<scale>thousands|millions)\b", re.IGNORECASE)
_COUNT_OF_SHARES = re.compile(
    r"\b(?:shares?|securities|options|units|stock)\s(?:\w+\s){0,2}(?:outstanding|issued|authori[sz]ed|repurchased)\b|"
    r"\bdilutive\b|\bnumber of (?:\w+\s)?shares\b|\bweighted[-\s]average (?:\w+\s){0,3}shares\b",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b(?P<noun>[a-z]{4,})\s(?:and\s[a-z]+\s)?(?:are\s|is\s)?(?:stated\s|shown\s|expressed\s|presented\s|given\s)?in\s"
    r"(?P<scale>thousands|millions|billions)\b(?!\sof\s)",
    re.IGNORECASE,
)
_NO_NOUNS = frozenset({
    "amounts", "currency", "data", "dollars", "earnings", "euros", "except", "expressed", "figures", "given", "income",
    "information", "numbers", "operations", "pounds", "presented", "reported", "results", "sheet", "sheets", "shown",
    "stated", "statement", "statements", "table", "tables", "values", "yen",
})  # fmt: skip
_TIMES = re.compile(r"\((?:x|times)\)", re.IGNORECASE)
_BASIS_POINTS = re.compile(r"\((?:in\s)?(?:bps?|basis\spoints)\)|,\s?bps?$", re.IGNORECASE)
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Declared:
    """`scale` None: nothing said; `share_scale` is that of numbers of shares, `shares`: it speaks of them.

    `noun`: counts of things. `only`: the text is nothing but a declaration.
    """

    scale: int | None = None
    unit: str = PLAIN
    noun: bool = False
    per_share: bool = False
    unscaled: bool = False
    only: bool = False
    share_scale: int | None = None
    shares: bool = False

    def over(self, other: "Declared") -> "Declared":
        """What this one says; where it is silent, what the other says."""
        return Declared(
            self.scale if self.scale is not None else other.scale,
            self.unit or ("" if self.noun else other.unit),
            self.noun or other.noun,
            self.per_share or other.per_share,
            self.unscaled or other.unscaled,
            share_scale=self.share_scale if self.share_scale is not None else other.share_scale,
            shares=self.shares or other.shares,
        )


def declared(text: str, *, weak: bool) -> Declared:
    """What a header says of scale and unit. `weak`: the text is prose, where only set phrases count."""
    return _declared(text[:_LONGEST], weak=weak)


@lru_cache(maxsize=4096)  # headers are read again for each of their cells
def _declared(text: str, *, weak: bool) -> Declared:
    scale, currency = _weak_scale(text) if weak else _scale(text)
    head = _EXCEPT.split(text, maxsplit=1)[0]
    unit = currency or _currency_in(head)
    if weak:
        return Declared(scale, currency, share_scale=_share_scale(text))
    per_share = _PER_SHARE.search(head) is not None
    noun = _NUMBER_OF.search(head) is not None
    inner = _IN_NOUN.search(head)
    if not unit and _PERCENT.search(head):
        unit = PERCENT
    elif _BASIS_POINTS.search(head):
        unit = BASIS_POINTS
    elif _TIMES.search(head):
        unit = TIMES
    elif inner and not unit:
        unit = NOUN_UNITS.get(inner.group("noun").lower().removesuffix("s"), inner.group("noun").lower())
    only = bool(re.fullmatch(r"[\s\W]*(?:0{3}|\W)*[\s\W]*", _CURRENCY.sub("", text))) and scale is not None
    unscaled = scale is None and (per_share or noun or (inner is not None) or unit in {PERCENT, TIMES, BASIS_POINTS})
    return Declared(
        scale, unit, noun, per_share, unscaled, only, _share_scale(text), _COUNT_OF_SHARES.search(text) is not None
    )


def named_scales(text: str) -> tuple[tuple[str, int], ...]:
    """The scales that a text declares for things of one name: "Subscribers in thousands; traffic in millions"."""
    return tuple(
        (match.group("noun").lower().removesuffix("s"), SCALES[match.group("scale").lower().removesuffix("s")])
        for match in _NAMED.finditer(text[:_LONGEST])
        if match.group("noun").lower() not in _NO_NOUNS
    )


def _currency_in(text: str) -> str:
    sign, name = _CURRENCY.search(text), _NAME.search(text)
    if sign:
        return currency_of(sign.group())
    if _WON.search(text):
        return "KRW"
    return CURRENCY_NAMES[name.group().lower().removesuffix("s")] if name else ""


def _share_scale(text: str) -> int | None:
    match = _SHARES.search(text)
    return SCALES[match.group("scale").lower().removesuffix("s")] if match else None


def _scale(text: str) -> tuple[int | None, str]:
    match = _SCALE.search(text)
    if match is None:
        return None, ""
    groups = match.groupdict()
    sign = groups["cur1"] or groups["cur2"] or groups["cur3"]
    currency = currency_of(sign) if sign else ""
    if groups["zeros"] or groups["zeros2"] or groups["zeros3"]:
        return len(groups["zeros"] or "000"), currency
    word = (groups["in"] or groups["of"] or groups["word"] or groups["letter"] or groups["lone"]).lower()
    return SCALES.get(word, SCALES.get(word.removesuffix("s"))), currency


def _weak_scale(text: str) -> tuple[int | None, str]:
    match = _WEAK.search(text)
    if match is None:
        return None, ""
    groups = match.groupdict()
    word = (groups["scale"] or groups["scale2"] or groups["scale3"] or groups["scale4"] or "thousand").lower()
    return SCALES.get(word, SCALES.get(word.removesuffix("s"))), _currency_in(match.group())
