"""What stands in for a tokenizer where an endpoint does the work: the body that is sent is the prompt."""

from collections.abc import Sequence
from typing import NoReturn

import orjson

from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.workers.forms.answer_form import AnswerForm
from pelton.workers.prepare.message_parsing import ParsedAnswer
from pelton.workers.remote.tokens import TokenEstimate

_LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key")


class RemoteCodec:
    """Implements `Codec`. A rendered request is the JSON body that the endpoint gets; its tokens are an estimate."""

    def __init__(self, model: str, estimate: TokenEstimate) -> None:
        """`model` is the name that the endpoint knows."""
        self._model = model
        self._estimate = estimate

    def render(self, messages: Sequence[Message], request: ChatRequest | None = None) -> str:
        """All that the sender set, with the endpoint's name of the model; in a session, behind the history."""
        asked = {} if request is None else request.model_dump(exclude_unset=True, by_alias=True, exclude={"messages"})
        told = [message.model_dump(exclude_unset=True, by_alias=True) for message in messages]
        return orjson.dumps({**asked, "model": self._model, "messages": told}).decode()

    def identity(self, text: str) -> str:
        """The body without what only says who asks, and why."""
        if not any(f'"{name}":' in text for name in _LABELS):
            return text
        body = orjson.loads(text)
        return orjson.dumps({name: value for name, value in body.items() if name not in _LABELS}).decode()

    def encode(self, texts: list[str]) -> Sequence[Sequence[int]]:
        """As many stand-ins as each text has tokens by estimate."""
        return [range(self._estimate.tokens(text)) for text in texts]

    def form(self, request: ChatRequest, prompt: str) -> AnswerForm | None:  # noqa: ARG002 (the endpoint holds the form)
        return None

    def decode(self, token_ids: Sequence[int]) -> NoReturn:
        raise TypeError(f"{len(token_ids)} tokens to decode: an endpoint answers in words")

    def token_bytes(self, token_id: int) -> NoReturn:
        """Never asked, as what follows: answers come as they were written."""
        self.decode([token_id])

    def parse(self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int]) -> ParsedAnswer:
        del request, prompt_ids
        self.decode(token_ids)

    def content(
        self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int], *, complete: bool
    ) -> str:
        del request, prompt_ids, complete
        self.decode(token_ids)
