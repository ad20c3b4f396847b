"""From a grammar's text to something that answers can be started from; called on threads, never during a step.

llguidance bounds what a grammar may cost: a text beyond its limits ends as an error after half a second at most and
some ten megabytes, in the thread that asked, with the interpreter's lock released.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.spec import GrammarError, GrammarKind, GrammarSpec, Strictness

MAX_TEXT_CHARS = 1_048_576
MAX_CACHED = 256
MAX_CACHED_CHARS = 1_048_576
"""Of all cached grammars' texts. A compiled grammar takes up to some hundred times the memory of its text."""

LIMITS = LLParserLimits(
    max_grammar_size=100_000,
    max_lexer_states=50_000,
    step_lexer_fuel=50_000,  # a mask takes some 2 ms at most
    step_max_items=20_000,
    verbose_errors=False,
)

# Models that find no end like to go on with spaces: an unbounded run of them would fill the answer.
_WHITESPACE = r"[\x20\x0A\x0D\x09]{1,40}"
_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Options:
    """Of the JSON compiler. All are set, so that a schema's own `x-guidance` changes none."""

    strictness: Strictness
    coerce_one_of: bool
    lenient: bool

    def grammar(self, schema: str) -> str:
        options = {
            "coerce_one_of": self.coerce_one_of,
            "lenient": self.lenient,
            "whitespace_flexible": True,
            "whitespace_pattern": _WHITESPACE,
            "item_separator": ",",
            "key_separator": ":",
        }
        return LLMatcher.grammar_from_json_schema(schema, overrides=options)  # type: ignore[arg-type]  # its TypedDict


_ATTEMPTS = (
    _Options(Strictness.STRICT, coerce_one_of=False, lenient=False),
    _Options(Strictness.COERCED, coerce_one_of=True, lenient=False),
    _Options(Strictness.LENIENT, coerce_one_of=True, lenient=True),
)


class GrammarCompiler:
    """Compiles for one tokenizer, and remembers what it compiled lately: grammars and errors, by their digests."""

    def __init__(self, make_tokenizer: Callable[[], LLTokenizer]) -> None:
        """`make_tokenizer` takes up to some seconds and is called with the first grammar."""
        self._make_tokenizer = make_tokenizer
        self._tokenizer: LLTokenizer | None = None
        self._making = threading.Lock()
        self._lock = threading.Lock()
        self._cached: OrderedDict[bytes, tuple[int, Grammar | GrammarError]] = OrderedDict()
        self._chars = 0

    @property
    def cached(self) -> int:
        """How many results are remembered."""
        return len(self._cached)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, a control token's name. Any thread. Raises GrammarError for an unknown tokenizer."""
        content: bytes = self._ready_tokenizer().decode_bytes([token_id])
        return content

    def compile(self, spec: GrammarSpec) -> Grammar:
        """Any thread. Raises GrammarError."""
        if len(spec.text) > MAX_TEXT_CHARS:
            raise GrammarError(f"it has {len(spec.text):,} characters, more than {MAX_TEXT_CHARS:,}")
        digest = spec.digest
        with self._lock:
            known = self._cached.get(digest)
            if known is not None:
                self._cached.move_to_end(digest)
        result = known[1] if known is not None else self._compiled(digest, spec)
        if isinstance(result, GrammarError):
            raise GrammarError(str(result))
        return result

    def _compiled(self, digest: bytes, spec: GrammarSpec) -> Grammar | GrammarError:
        tokenizer = self._ready_tokenizer()
        result: Grammar | GrammarError
        try:
            result = _compile(spec, tokenizer)
        except GrammarError as error:
            result = error
        with self._lock:
            if digest not in self._cached:
                self._chars += len(spec.text)
            self._cached[digest] = len(spec.text), result
            while len(self._cached) > MAX_CACHED or (self._chars > MAX_CACHED_CHARS and len(self._cached) > 1):
                self._chars -= self._cached.popitem(last=False)[1][0]
        return result

    def _ready_tokenizer(self) -> LLTokenizer:
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = self._make_tokenizer()
            return self._tokenizer


def _compile(spec: GrammarSpec, tokenizer: LLTokenizer) -> Grammar:
    reason = ""
    for grammar, strictness in _grammars(spec):
        matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()  # finds what admits nothing at all, and fills what all answers share
        if not matcher.is_error():
            return Grammar(matcher, _judged(matcher, strictness), tokenizer, spec.after)
        reason = reason or _told(matcher.get_error())
    raise GrammarError(reason)


def _judged(matcher: LLMatcher, strictness: Strictness) -> Strictness:
    """A grammar in Lark may have schemas in it, with options of their own; what they leave out is warned of."""
    return Strictness.LENIENT if strictness is Strictness.STRICT and matcher.get_grammar_warnings() else strictness


def _grammars(spec: GrammarSpec) -> Iterator[tuple[str, Strictness]]:
    """Grammars to try, the most exact first."""
    try:
        match spec.kind:
            case GrammarKind.JSON_SCHEMA:
                for options in _ATTEMPTS:
                    yield options.grammar(spec.text), options.strictness
            case GrammarKind.REGEX:
                yield LLMatcher.grammar_from_regex(spec.text), Strictness.STRICT
            case GrammarKind.CHOICE:
                choices = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in json.loads(spec.text))
                yield LLMatcher.grammar_from_lark(f"start: {choices}"), Strictness.STRICT
            case GrammarKind.LARK:
                yield LLMatcher.grammar_from_lark(spec.text), Strictness.STRICT
    except ValueError as error:
        raise GrammarError(_told(str(error))) from None


def _told(error: str) -> str:
    """Llguidance's words without its notes on where in its own text they were met."""
    if error.startswith("NoExtension"):
        return "it admits no text at all"
    first = next((line for line in error.splitlines() if line.strip()), "no reason given")
    return first.removesuffix("<non-verbose/>").strip()[:_ERROR_CHARS]
