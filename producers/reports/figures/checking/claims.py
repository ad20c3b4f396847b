"""The numbers that a text states, each with the words, periods and intent of its sentence."""

import re
from dataclasses import dataclass

from pelton.producers.reports.figures.checking.intent import Intent, intent_of
from pelton.producers.reports.figures.checking.timing.alignment import all_periods_of, periods_of, repeated_period
from pelton.producers.reports.figures.checking.words import stem, stems
from pelton.producers.reports.figures.lexing.lexer import Number, scan
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.tables.text_numbers import sentences

_WORD = re.compile(r"[A-Za-z]{2,}")
# A sentence that speaks of what the one before it named.
_OF_THE_LAST = re.compile(
    r"\s*(?:they|it|this|that|these|those|which|the (?:increase|decrease|change|rise|fall|decline|growth|difference|"
    r"figure|amount|latter|former))\b",
    re.IGNORECASE,
)
_FEW_WORDS = 2
_LONGEST = 1500


@dataclass(frozen=True, slots=True)
class Claim:
    """A number of the text.

    Args:
        start: where the number stands in the whole text; `at`: where in its sentence.
        order: the sentence's words in order, as stems.
        periods: those it is said of, by its place among the sentence's numbers.
        all_periods: every period of the sentence.
        repeated: a period that stands at both ends of a span: "from 2019 to 2019".

    """

    number: Number
    start: int
    end: int
    sentence: str
    at: int
    words: frozenset[str]
    order: tuple[str, ...]
    periods: tuple[Period, ...]
    all_periods: tuple[Period, ...]
    intent: Intent
    repeated: Period | None = None

    def position(self, words: frozenset[str]) -> int:
        """Where the first of these words stands; behind all where none does."""
        return next((index for index, word in enumerate(self.order) if word in words), len(self.order))


def claims(text: str) -> list[Claim]:
    """Every amount of a text in order. An answer without words of its own belongs to the sentence before it."""
    found: list[Claim] = []
    last: frozenset[str] = frozenset()
    for start, end in statements(text):
        sentence = text[start:end]
        scanned = scan(sentence)
        words = stems(sentence) | (last if _OF_THE_LAST.match(sentence) else frozenset())
        last = words
        order = tuple(stem(word.lower()) for word in _WORD.findall(sentence))
        twice = repeated_period(sentence, scanned)
        everything = all_periods_of(sentence, scanned)
        found += [
            Claim(
                number,
                start + number.start,
                start + number.end,
                sentence,
                number.start,
                words,
                order,
                periods_of(sentence, scanned, number),
                everything,
                intent_of(sentence, number.start, number.end, is_rate=number.quantity.is_rate),
                twice,
            )
            for number in scanned.amounts
        ]
    return found


def statements(text: str) -> list[tuple[int, int]]:
    """Sentences, where one with hardly a word is joined to the one before."""
    joined: list[tuple[int, int]] = []
    for start, end in sentences(text):
        short = len(stems(text[start:end])) < _FEW_WORDS and joined and end - joined[-1][0] < _LONGEST
        if short and "\n\n" not in text[start - 1 : start + 1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
