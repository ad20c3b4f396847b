"""Between text and tokens: the one place that knows a tokenizer."""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from pelton.pipeline.errors import InvalidValue
from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.vocabulary import of_bytes, of_tokenizer
from pelton.workers.engine.simulated.text import decode_tokens, encode_text
from pelton.workers.prepare.answer_form import AnswerForm, compile_form
from pelton.workers.prepare.answer_grammar import grammar_spec

# Marks a place where the text is cut before it is tokenised. Unicode keeps this code point free for internal use; where
# a sender wrote it all the same, it becomes the replacement character.
_CUT = "\ufdd0"
_REPLACEMENT = "\ufffd"


class Codec(Protocol):
    """Called from threads; must be safe to share between them."""

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model wants to read it. Raises `InvalidValue` for one its template refuses."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each rendered text, all in one call so that the tokenizer can use every core."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens, without control tokens."""

    def form(self, request: ChatRequest) -> AnswerForm | None:
        """What the answer is held to. Raises `InvalidValue` for a form that cannot be had."""


class TokenizerCodec:
    """A transformers tokenizer with its chat template.

    What a message contains is text, even where it looks like a control token: such a string is cut after its first
    character, and the pieces are tokenised apart, so that no tokenizer can find it. Only the template makes control
    tokens.
    """

    def __init__(self, tokenizer: Any, grammars: GrammarCompiler | None = None) -> None:
        self._tokenizer = tokenizer
        self._grammars = grammars or GrammarCompiler(
            lambda: of_tokenizer(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
        )
        self._control = _starts_of(_control_strings(tokenizer))

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation with cuts in it, for `encode`."""
        turns = [{"role": _role(message), "content": self._defused(message.text)} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise InvalidValue(
                f"The model's chat template refuses these messages: {error}.", param="messages"
            ) from None
        return text

    def encode(self, texts: list[str]) -> list[list[int]]:
        pieces = [text.split(_CUT) for text in texts]
        flat = list(chain.from_iterable(pieces))
        encoded = iter(self._tokenizer(flat, add_special_tokens=False)["input_ids"])
        return [list(chain.from_iterable(next(encoded) for _ in each)) for each in pieces]

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def form(self, request: ChatRequest) -> AnswerForm | None:
        return compile_form(grammar_spec(request), self._grammars, self.decode)

    def _defused(self, content: str) -> str:
        clean = content.replace(_CUT, _REPLACEMENT)
        return self._control.sub(rf"\g<0>{_CUT}", clean) if self._control else clean


class SimulatedCodec:
    """For the simulated engine: a plain rendering and a reversible toy code of about four bytes a token."""

    def __init__(self) -> None:
        self._grammars = GrammarCompiler(of_bytes)

    def render(self, messages: Sequence[Message]) -> str:
        return "\n".join(f"{message.role}: {message.text}" for message in messages)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [encode_text(text) for text in texts]

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode_tokens(token_ids)

    def form(self, request: ChatRequest) -> AnswerForm | None:
        return compile_form(grammar_spec(request), self._grammars, self.decode)


def _role(message: Message) -> str:
    """Chat templates know OpenAI's newer `developer` role by its old name."""
    return "system" if message.role == "developer" else message.role


def _control_strings(tokenizer: Any) -> set[str]:
    """What the tokenizer would read as a control token. One of a single character cannot be told from text."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {text for text in added | set(tokenizer.all_special_tokens) if len(text) > 1}


def _starts_of(strings: set[str]) -> re.Pattern[str] | None:
    """Matches the first character of each of `strings`, overlapping ones too."""
    if not strings:
        return None
    return re.compile(f"(?={'|'.join(map(re.escape, sorted(strings)))}).", re.DOTALL)
