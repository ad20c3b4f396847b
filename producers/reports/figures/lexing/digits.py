"""Reads a run of digits with separators, in the ways that the world groups them."""

import re
from decimal import Decimal

_SPACES = "\u00a0\u202f\u2009'\u2019"
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:,\d{2})*,\d{3}")  # 1,234,567 and 12,34,567
_DOT_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3}){2,}")


def read_digits(digits: str) -> tuple[Decimal, int] | None:
    """The value and its number of decimals, or None where the run is no number ("1.2.3", "12,34").

    A single comma before other than three digits is a decimal comma; a single dot is a decimal
    point, as "1.234" is read by most; where both occur, the last one is the decimal sign.
    """
    run = digits.translate({ord(space): None for space in _SPACES}) if _is_space_grouped(digits) else digits
    if not run.isascii() or not run.replace(",", "").replace(".", "").isdigit():
        return _unicode_digits(run)
    commas, dots = run.count(","), run.count(".")
    if commas and dots:
        return _both(run)
    if commas:
        if _GROUPED.fullmatch(run):
            return Decimal(run.replace(",", "")), 0
        return _decimal(run.replace(",", "."), "." if commas == 1 else "")
    if dots > 1:
        return (Decimal(run.replace(".", "")), 0) if _DOT_GROUPED.fullmatch(run) else None
    return _decimal(run, ".")


def _both(run: str) -> tuple[Decimal, int] | None:
    decimal_sign = max(",.", key=run.rfind)
    group_sign = "," if decimal_sign == "." else "."
    whole, _, fraction = run.rpartition(decimal_sign)
    if decimal_sign in whole or not _GROUPED.fullmatch(whole.replace(group_sign, ",")):
        return None
    return _decimal(f"{whole.replace(group_sign, '')}.{fraction}", ".")


def _decimal(run: str, sign: str) -> tuple[Decimal, int] | None:
    if not sign:
        return None
    _, _, fraction = run.partition(sign)
    return Decimal(run), len(fraction)


def _is_space_grouped(digits: str) -> bool:
    parts = re.split(f"[{_SPACES}]", digits)
    return len(parts) > 1 and len(parts[0]) <= 3 and all(re.match(r"\d{3}(?:$|[.,])", part) for part in parts[1:])  # noqa: PLR2004


def _unicode_digits(run: str) -> tuple[Decimal, int] | None:
    """Digits of other scripts, without separators."""
    return (Decimal(int(run)), 0) if run.isdecimal() else None
