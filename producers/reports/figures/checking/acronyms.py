"""Acronyms and what they stand for: "SG&A expenses" of "Selling, general and administrative expenses", and back."""

import re
from collections.abc import Iterable, Mapping

from pelton.producers.reports.figures.checking.words import stem, stems

_WORD = re.compile(r"[A-Za-z]+|&")
_ACRONYM = re.compile(r"(?<![A-Za-z&])[A-Z][A-Z&]{1,4}[A-Z](?![A-Za-z&])")
_SHORTEST, _LONGEST = 3, 5
_MAX_WORDS = 40  # of a label


def acronyms_of(labels: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """What labels may be called by, in lower case: initials with the words they stand for, acronyms with themselves."""
    found: dict[str, set[str]] = {}
    for label in dict.fromkeys(labels):
        words = _WORD.findall(label)[:_MAX_WORDS]
        initials = _initials(words)
        for start in range(len(words)):
            for end in range(start + _SHORTEST, min(start + _LONGEST, len(words)) + 1):
                found.setdefault(initials[start:end], set()).update(stems(" ".join(words[start:end])))
        for acronym in _ACRONYM.findall(label):
            found.setdefault(acronym.lower(), set()).update(_parts(acronym))
    return {short: frozenset(words) for short, words in found.items()}


def spelled_out(sentence: str, acronyms: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The words of labels that the sentence means by an acronym, or by spelling one out."""
    meant: set[str] = set()
    for acronym in _ACRONYM.findall(sentence):
        meant |= acronyms.get(acronym.lower(), frozenset())
    initials = _initials(_WORD.findall(sentence))
    for start in range(len(initials)):
        for end in range(start + _SHORTEST, min(start + _LONGEST, len(initials)) + 1):
            words = acronyms.get(initials[start:end], frozenset())
            if words <= _parts(initials[start:end]):  # an acronym of a label, not another thing with these initials
                meant |= words
    return frozenset(meant)


def _initials(words: Iterable[str]) -> str:
    return "".join("&" if word.lower() == "and" else word[0].lower() for word in words)


def _parts(acronym: str) -> frozenset[str]:
    """An acronym as words of a label are read: "SG&A" gives "sg"."""
    return frozenset(stem(part) for part in re.findall(r"[a-z]{2,}", acronym.lower()))
