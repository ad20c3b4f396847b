"""Writes quantities as an English report would: "$1,452.4 million", "-22.2%", "0.25 percentage points", "2.93x"."""

from decimal import ROUND_HALF_UP, Decimal, localcontext

from pelton.producers.reports.figures.quantity import (
    BASIS_POINTS,
    PER_SHARE,
    PERCENT,
    POINTS,
    SCALE_WORDS,
    TIMES,
    Quantity,
)

_SIGNS = {
    "USD": "$",
    "EUR": "€",
    "GBP": "£",
    "JPY": "¥",
    "INR": "₹",
    "AUD": "A$",
    "CAD": "C$",
    "HKD": "HK$",
    "KRW": "₩",
}
_SUFFIXES = {PERCENT: "%", POINTS: " percentage points", BASIS_POINTS: " basis points", TIMES: "x"}
_PRECISION = 60


def written(quantity: Quantity, *, magnitude: bool = False) -> str:
    """A quantity in words of its scale and unit.

    `magnitude` leaves the sign away, where the words around it say which way ("fell by").

    """
    value, words = _scaled(quantity)
    with localcontext() as context:
        context.prec = _PRECISION
        rounded = value.quantize(Decimal(1).scaleb(-quantity.decimals), rounding=ROUND_HALF_UP)
    sign = "-" if rounded < 0 and not magnitude else ""
    digits = f"{abs(rounded):,f}"
    unit = quantity.unit.removesuffix(PER_SHARE)
    if quantity.is_money:
        symbol = _SIGNS.get(unit, f"{unit} ")
        per_share = " per share" if quantity.unit.endswith(PER_SHARE) else ""
        return f"{sign}{symbol}{digits}{words}{per_share}"
    if unit in _SUFFIXES:
        return f"{sign}{digits}{_SUFFIXES[unit]}"
    return f"{sign}{digits}{words}{f' {unit}' if unit else ''}"


def _scaled(quantity: Quantity) -> tuple[Decimal, str]:
    if quantity.unit in _SUFFIXES or not quantity.scale:
        return quantity.amount, ""
    word = SCALE_WORDS.get(quantity.scale)
    return (quantity.value, f" {word}") if word else (quantity.amount, "")
