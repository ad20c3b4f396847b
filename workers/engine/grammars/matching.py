"""A compiled grammar, and where one answer is in it."""

from llguidance import LLMatcher, LLTokenizer

from pelton.workers.engine.grammars.spec import Strictness


class Grammar:
    """Compiled; answers are started from it, on any thread."""

    __slots__ = ("_after", "_matcher", "strictness", "tokenizer")

    def __init__(self, matcher: LLMatcher, strictness: Strictness, tokenizer: LLTokenizer, after: str = "") -> None:
        self._matcher = matcher
        self._after = after.encode()
        self.strictness = strictness
        self.tokenizer = tokenizer

    def start(self) -> "GrammarState":
        """The beginning of an answer."""
        return GrammarState(self._matcher.deep_copy(), self.tokenizer, self._after)


class GrammarState:
    """Where one answer is in its grammar. Belongs to the thread that drives the engine.

    Until the text `after` has been said the answer is free, and what comes with it in the same token is not held.
    """

    __slots__ = ("_after", "_tail", "matcher", "tokenizer")

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer, after: bytes) -> None:
        self.matcher = matcher
        self.tokenizer = tokenizer
        self._after = after
        self._tail = b""

    @property
    def holds(self) -> bool:
        """Whether the next token must be one that the grammar admits."""
        return not self._after

    @property
    def ended(self) -> bool:
        """Whether the answer is complete and nothing can follow."""
        return self.holds and self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def error(self) -> str | None:
        """Why the answer cannot go on, where it cannot."""
        if self.holds and self.matcher.is_error():
            return self.matcher.get_error().splitlines()[0]
        return None

    def advance(self, token: int) -> None:
        """Take the answer's next token, not an end of sequence."""
        if self.holds:
            self.matcher.consume_token(token)
            return
        self._tail += self.tokenizer.decode_bytes([token])
        if self._after in self._tail:
            self._after = b""
        else:
            self._tail = self._tail[-len(self._after) :]
