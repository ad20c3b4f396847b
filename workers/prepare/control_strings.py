"""Finds control strings in text that came from outside, in time linear in the text.

A tokenizer may have thousands of them (Gemma 3 has 6,242 like `<unused17>`). A regular expression that lists them tries
each at every position; here they are merged by their common beginnings, so that a position costs no more than the
longest of them, however many there are. The text is searched in slices, since the `re` module holds the interpreter's
lock for a whole search: the event loop gets its turn between two slices.
"""

import os.path
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise

SLICE_CHARS = 16_384
"""One slice takes some milliseconds at worst."""


class ControlStrings:
    """A fixed set of strings to be found; immutable, so that threads may share it."""

    def __init__(self, strings: Iterable[str]) -> None:
        """Strings of a single character are left out: they cannot be told from text."""
        shortest = _without_extensions(sorted({text for text in strings if len(text) > 1}))
        self._longest = max(map(len, shortest), default=0)
        self._pattern = re.compile(_first_characters(shortest)) if shortest else None

    def starts(self, text: str) -> Iterator[int]:
        """The position of each place in `text` where one of the strings begins, overlapping ones too, in order."""
        if self._pattern is None:
            return
        for begin in range(0, len(text), SLICE_CHARS):
            # Beyond the slice as far as a string that begins in it may reach.
            for match in self._pattern.finditer(text, begin, begin + SLICE_CHARS + self._longest - 1):
                if match.start() >= begin + SLICE_CHARS:
                    break
                yield match.start()

    def cut(self, text: str, mark: str) -> str:
        """`text` with `mark` put behind the first character of each of the strings in it."""
        cuts = [0, *(start + 1 for start in self.starts(text)), len(text)]
        return mark.join(text[begin:end] for begin, end in pairwise(cuts)) if len(cuts) > 2 else text  # noqa: PLR2004


def _without_extensions(ordered: Sequence[str]) -> list[str]:
    """Those that begin with none of the others: where a longer one begins, the shorter one is found."""
    kept: list[str] = []
    for text in ordered:
        if not kept or not text.startswith(kept[-1]):
            kept.append(text)
    return kept


def _first_characters(strings: Sequence[str]) -> str:
    """A pattern for the first character of each; what follows is only looked at. `strings` are sorted."""
    branches = [
        f"{re.escape(first)}(?={_merged([text[1:] for text in group])})"
        for first, group in groupby(strings, key=lambda text: text[0])
    ]
    return "|".join(branches)


def _merged(strings: Sequence[str]) -> str:
    """A pattern for any of `strings` (sorted, none the beginning of another) that tries each character once."""
    branches = []
    for _, together in groupby(strings, key=lambda text: text[0]):
        group = list(together)
        common = os.path.commonprefix([group[0], group[-1]])  # noqa: RUF071  # of strings, not of paths
        rest = _merged([text[len(common) :] for text in group]) if len(group) > 1 else ""
        branches.append(re.escape(common) + rest)
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
