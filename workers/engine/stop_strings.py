"""Finding stop strings in a token stream while it grows."""

from collections.abc import Callable, Sequence

# A UTF-8 character spans at most 4 tokens; text that still ends in a replacement mark after that is really broken.
_MAX_TOKENS_PER_CHARACTER = 4
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class StopStrings:
    """Watches one request's text. Only the newest tokens are decoded, whatever has been generated before.

    A token's text can depend on the token before it (leading spaces) and can be part of a character only. So what is
    decoded is the last complete piece of text followed by the new tokens, and its known beginning is taken off.
    """

    def __init__(self, stop: Sequence[str], decode: Callable[[list[int]], str]) -> None:
        self._stop = tuple(stop)
        self._decode = decode
        self._keep = max(map(len, stop)) - 1
        self._tail = ""
        self._known: list[int] = []
        self._known_text = ""
        self._fresh: list[int] = []

    def push(self, token_id: int) -> bool:
        """Take the next token; True when the text now holds a stop string."""
        self._fresh.append(token_id)
        text = self._decode(self._known + self._fresh)
        tail = self._tail + text[len(self._known_text) :]
        if any(stop in tail for stop in self._stop):
            return True
        if not text.endswith(_REPLACEMENT) or len(self._fresh) >= _MAX_TOKENS_PER_CHARACTER:
            self._tail = tail[-self._keep :] if self._keep else ""
            self._known, self._fresh = self._fresh, []
            self._known_text = self._decode(self._known)
        return False
