"""Whether a number of the text says the same as a quantity of the source, to the precision that it is written in."""

from dataclasses import dataclass
from decimal import Decimal

from pelton.producers.reports.figures.lexing.lexer import Number
from pelton.producers.reports.figures.lexing.lexicon import DOLLARS
from pelton.producers.reports.figures.quantity import BASIS_POINTS, PER_SHARE, PERCENT, PLAIN, POINTS, TIMES, Quantity

_HALF = Decimal("0.5")
_SLACK = Decimal("1e-9")
_TIME = frozenset({"days", "weeks", "months", "years", "hours"})

SAME, OTHER_VALUE, OTHER_SIGN, OTHER_SCALE, OTHER_UNIT = "same", "value", "sign", "scale", "unit"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the source says around a quantity.

    `currencies`: those that occur anywhere in the source; `words`: the text around the quantity, in lower case.
    """

    currencies: frozenset[str]
    words: str = ""


def compare(number: Number, truth: Quantity, setting: Setting) -> str:
    """`same`, or in what the two differ: `value`, `sign`, `scale` or `unit`."""
    text = number.quantity
    unit = _units(text, truth, setting)
    for factor in _factors(text, truth):
        close = _close(number, truth.value * factor, 0)
        if close:
            return unit or _sign(text, truth.value)
    if text.is_rate or truth.is_rate or truth.unit == TIMES:
        return OTHER_VALUE
    return _amounts(number, truth, unit)


def _amounts(number: Number, truth: Quantity, unit: str) -> str:
    text = number.quantity
    if text.scale_known and text.scale:
        if _close(number, truth.amount, text.scale):
            return unit or _sign(text, truth.value)
        return OTHER_SCALE if _close(number, truth.value, 0) else OTHER_VALUE
    if _close(number, truth.value, 0) or (truth.scale and _close(number, truth.amount, 0)):
        return unit or _sign(text, truth.value)
    return OTHER_VALUE


def _factors(text: Quantity, truth: Quantity) -> tuple[Decimal, ...]:
    """What a rate of the source is multiplied by before it is compared; none where it is an amount."""
    if text.scale_known and text.scale:
        return ()
    if truth.unit == TIMES:
        return (Decimal(100),) if text.unit == PERCENT else (Decimal(1),)
    if truth.unit in {PERCENT, POINTS}:
        return (Decimal(100),) if text.unit == BASIS_POINTS else (Decimal(1),)
    if truth.unit == BASIS_POINTS:
        return (Decimal("0.01"),) if text.unit in {PERCENT, POINTS} else (Decimal(1),)
    return (Decimal(1),) if text.is_rate else ()


def _units(text: Quantity, truth: Quantity, setting: Setting) -> str:
    """Empty where the units may be the same, else `unit`."""
    mine, yours = text.unit, truth.unit
    if mine in {yours, PLAIN}:
        return ""
    if text.is_money:
        return "" if _money(mine.removesuffix(PER_SHARE), truth, setting) else OTHER_UNIT
    if text.is_rate:
        return "" if _rates(mine, truth, setting) else OTHER_UNIT
    if mine == TIMES:
        return "" if yours == PLAIN else OTHER_UNIT
    if mine in _TIME or mine in {"cents", "pence"}:
        return "" if mine.removesuffix("s") in setting.words else OTHER_UNIT
    return OTHER_UNIT if truth.is_money or truth.is_rate else ""


def _money(code: str, truth: Quantity, setting: Setting) -> bool:
    if truth.is_money:
        mine, yours = {code}, {truth.unit.removesuffix(PER_SHARE)}
    elif truth.unit == PLAIN:
        mine, yours = {code}, set(setting.currencies)
    else:
        return False
    return bool(mine & yours) or (code == "USD" and bool(yours & DOLLARS))


def _rates(unit: str, truth: Quantity, setting: Setting) -> bool:
    if truth.unit == TIMES:
        return unit == PERCENT
    if truth.unit == POINTS:
        return True
    if truth.is_rate:
        return unit == PERCENT
    return (
        unit == PERCENT
        and truth.unit == PLAIN
        and not truth.scale
        and any(word in setting.words for word in ("%", "percent", "per cent"))
    )


def _close(number: Number, truth: Decimal, scale: int) -> bool:
    """Whether the magnitudes are the same when the truth is rounded to the precision of the text."""
    text = number.quantity
    stated = abs(text.value.scaleb(scale))
    unit = Decimal(1).scaleb(scale - text.decimals)
    if number.about and text.value == text.value.to_integral_value():
        unit *= _trailing_zeros(text.value)
    return abs(stated - abs(truth)) <= unit * _HALF + _SLACK * max(stated, Decimal(1))


def _trailing_zeros(value: Decimal) -> Decimal:
    """The last digit that says something: of "about 1,200" it is the hundreds'."""
    digits = str(abs(int(value)))
    return Decimal(10) ** (len(digits) - max(len(digits.rstrip("0")), 1))


def _sign(text: Quantity, truth: Decimal) -> str:
    return SAME if not truth or (text.value < 0) == (truth < 0) or not text.value else OTHER_SIGN
