"""Between text and tokens: the one place that knows a tokenizer."""

from collections.abc import Sequence
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from pipeline.errors import InvalidValue
from pipeline.messages import Message
from workers.engine.simulated_text import decode_tokens, encode_text


class Codec(Protocol):
    """Called from threads; must be safe to share between them."""

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model wants to read it. Raises `InvalidValue` for one its template refuses."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each rendered text, all in one call so that the tokenizer can use every core."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens, without control tokens."""


class TokenizerCodec:
    """A transformers tokenizer with its chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def render(self, messages: Sequence[Message]) -> str:
        turns = [{"role": _role(message), "content": message.text} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise InvalidValue(
                f"The model's chat template refuses these messages: {error}.", param="messages"
            ) from None
        return text

    def encode(self, texts: list[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return encoded

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text


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
