"""Between text and tokens: what a worker asks of whatever knows a model's language."""

from collections.abc import Sequence
from typing import Protocol

from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.workers.forms.answer_form import AnswerForm
from pelton.workers.prepare.message_parsing import ParsedAnswer


class Codec(Protocol):
    """Called from threads; must be safe to share between them."""

    def render(self, messages: Sequence[Message], request: ChatRequest | None = None) -> str:
        """The conversation as the model wants to read it, with the tools and variables of `request`.

        Raises `RequestError` for what its template refuses or the model has no words for.
        """

    def identity(self, text: str) -> str:
        """What of a rendered text decides the answer: requests with the same may share one."""

    def shortened(self, text: str, most_new_tokens: int) -> str:
        """A rendered text, where that itself says how long the answer may get, with this limit; else as it is."""

    def encode(self, texts: list[str]) -> Sequence[Sequence[int]]:
        """Token ids of each rendered text, all in one call so that the tokenizer can use every core."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens, without control tokens."""

    def token_bytes(self, token_id: int) -> bytes:
        """What one token adds to a text, in UTF-8, of which it may be a part; of a control token its name."""

    def form(self, request: ChatRequest, prompt: str) -> AnswerForm | None:
        """What the answer to a rendered prompt is held to. Raises `InvalidValue` for a form that cannot be had."""

    def parse(self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int]) -> ParsedAnswer:
        """Generated tokens as a message."""

    def content(
        self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int], *, complete: bool
    ) -> str:
        """The content of a message that is not `complete`: as much of it as more tokens leave as it is, but for its
        last character and the beginning of a stop string.
        """
