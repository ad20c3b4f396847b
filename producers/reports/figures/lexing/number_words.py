"""Numbers written in words, where they are clearly amounts: "two million", "twenty-five percent", "three times"."""

import re
from collections.abc import Iterator
from decimal import Decimal

from pelton.producers.reports.figures.lexing import number_context as around
from pelton.producers.reports.figures.lexing.lexicon import TENS_OF_WORDS, UNITS_OF_WORDS
from pelton.producers.reports.figures.quantity import BASIS_POINTS, PERCENT, POINTS, TIMES, Quantity, is_money

_WORDS = {**UNITS_OF_WORDS, **TENS_OF_WORDS}
_RATES = frozenset({PERCENT, POINTS, BASIS_POINTS, TIMES})
_WORD = "|".join(sorted(_WORDS, key=len, reverse=True))
_TENS = "|".join(TENS_OF_WORDS)
_PATTERN = re.compile(
    rf"\b(?:(?:{_TENS})[-\s](?:one|two|three|four|five|six|seven|eight|nine)|{_WORD})\b", re.IGNORECASE
)
_QUESTION_BEFORE = re.compile(r"\?\s*$")
_END_AFTER = re.compile(r"\s*\.?\s*$")


def number_words(text: str) -> Iterator[tuple[int, int, Quantity]]:
    """Start, end and quantity of each. Others are left alone ("two segments", "three years")."""
    for match in _PATTERN.finditer(text):
        value = sum(_WORDS[part] for part in re.split(r"[-\s]", match.group().lower()))
        after = around.after(text, match.end())
        is_answer = _QUESTION_BEFORE.search(text[max(0, match.start() - 3) : match.start()]) and _END_AFTER.match(
            text[match.end() : match.end() + 4]
        )
        if after.scale is not None or after.unit in _RATES or is_money(after.unit) or is_answer:
            scale = after.scale or 0
            unit = around.unit("", after)
            yield (
                match.start(),
                after.end,
                Quantity(Decimal(value), scale, unit, 0, scale_known=after.scale is not None),
            )
