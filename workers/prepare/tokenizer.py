"""Between text and tokens: the one place that knows a tokenizer."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from pelton.pipeline.errors import InvalidValue
from pelton.pipeline.wire.chat import Message
from pelton.workers.engine.simulated.text import decode_tokens, encode_text
from pelton.workers.prepare.control_strings import ControlStrings

# Marks a place where the text is cut before it is tokenised. Unicode keeps this code point free for internal use; where
# a sender wrote it all the same, it becomes the replacement character.
_CUT = "\ufdd0"
_REPLACEMENT = "\ufffd"
_PIECES_AT_ONCE = 1_024
"""What the tokenizer gives for a piece takes a kilobyte besides its tokens, and a text may be all cuts."""


class Codec(Protocol):
    """Called from threads; must be safe to share between them."""

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model wants to read it. Raises `InvalidValue` for one its template refuses."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each rendered text, all in one call so that the tokenizer can use every core."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens, without control tokens."""


class TokenizerCodec:
    """A transformers tokenizer with its chat template.

    What a message contains is text, even where it looks like a control token: such a string is cut after its first
    character, and the pieces are tokenised apart, so that no tokenizer can find it. Only the template makes control
    tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = ControlStrings(_control_strings(tokenizer))

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
        encoded = self._encoded(chain.from_iterable(pieces))
        return [list(chain.from_iterable(islice(encoded, len(each)))) for each in pieces]

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def _encoded(self, pieces: Iterator[str]) -> Iterator[list[int]]:
        while batch := list(islice(pieces, _PIECES_AT_ONCE)):
            yield from self._tokenizer(batch, add_special_tokens=False)["input_ids"]

    def _defused(self, content: str) -> str:
        return self._control.cut(content.replace(_CUT, _REPLACEMENT), _CUT)


class SimulatedCodec:
    """For the simulated engine: a plain rendering and a reversible toy code of about four bytes a token."""

    def render(self, messages: Sequence[Message]) -> str:
        return "\n".join(f"{message.role}: {message.text}" for message in messages)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [encode_text(text) for text in texts]

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode_tokens(token_ids)


def _role(message: Message) -> str:
    """Chat templates know OpenAI's newer `developer` role by its old name."""
    return "system" if message.role == "developer" else message.role


def _control_strings(tokenizer: Any) -> set[str]:
    """What the tokenizer would read as a control token."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)
