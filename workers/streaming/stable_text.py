"""The part of an unfinished answer that can be sent: text that no later token changes."""

from collections.abc import Sequence

import regex

_CLUSTER = regex.compile(r"\X")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a decoder gives for a character of which not all bytes are there."""


class StableText:
    """One answer's text in pieces; the pieces joined are the text.

    Held back are the last character as readers see it, which an accent or a joined emoji may still become part of, and
    whatever a stop string may begin with: were it to come, the answer would end before it.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._told = ""

    @property
    def told(self) -> str:
        return self._told

    def advance(self, text: str) -> str:
        """The next piece of an answer that is `text` so far; empty where there is none yet.

        Nor is there any where what was told has changed, which ends the telling.
        """
        return self._tell(text, self._stable_end(text))

    def finish(self, text: str) -> str:
        """The last piece of an answer that is `text`."""
        return self._tell(text, len(text))

    def _tell(self, text: str, end: int) -> str:
        begin = len(self._told)
        if end <= begin or not text.startswith(self._told):
            return ""
        self._told = text[:end]
        return text[begin:end]

    def _stable_end(self, text: str) -> int:
        begin = len(self._told)
        whole = len(text.rstrip(_REPLACEMENT))
        limit = min([whole, *(_possible_start(text[:whole], stop, begin) for stop in self._stop)])
        starts = [cluster.start() for cluster in _CLUSTER.finditer(text, begin, max(begin, whole))]
        # Each start is the end of the cluster before it: the last cluster is open.
        return max((start for start in starts if start <= limit), default=begin)


def _possible_start(text: str, stop: str, begin: int) -> int:
    """Where a stop string that is not complete may have begun; the end of the text where none can have."""
    for start in range(max(begin, len(text) - len(stop) + 1), len(text)):
        if stop.startswith(text[start:]):
            return start
    return len(text)
