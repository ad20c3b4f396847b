"""A reply as it comes from Kafka, parsed only by those who look inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.wire.chat import ChatCompletion
from pelton.producers.errors import ReplyError

INVALID_REPLY = "invalid_reply"


@dataclass(frozen=True, slots=True)
class Reply:
    """One record of the reply topic.

    `value` is the body as bytes: a `chat.completion` object or `{"error": ...}`. Of a repeated header `headers` has the
    last. `index` is the request's place among the bodies given to `submit_many`, None elsewhere.
    """

    correlation_id: bytes
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    index: int | None = None

    def body(self) -> dict[str, Any]:
        """The parsed value. Raises `ReplyError` (`invalid_reply`) when it is not a JSON object."""
        try:
            parsed = orjson.loads(self.value)
        except orjson.JSONDecodeError as error:
            raise _invalid(f"it is not JSON ({error})") from None
        if not isinstance(parsed, dict):
            raise _invalid("it is not a JSON object")
        return parsed

    @property
    def error(self) -> ReplyError | None:
        """The error, when the value is one. Raises as `body` does."""
        body = self.body()
        detail = body.get("error")
        if detail is None:
            return None
        if not isinstance(detail, dict):
            raise _invalid("its 'error' is not an object")
        message = str(detail.get("message") or "The request failed without a message.")
        return ReplyError(message, code=_text(detail.get("code")), param=_text(detail.get("param")), body=body)

    def completion(self) -> ChatCompletion:
        """The answer. Raises `ReplyError` when the value is an error, or neither an error nor an answer."""
        if error := self.error:
            raise error
        try:
            return ChatCompletion.model_validate_json(self.value)
        except ValidationError as fault:
            raise _invalid(f"it is no chat.completion: {fault.errors()[0]['msg']}") from None


def refusal(correlation_id: bytes, error: PeltonError) -> Reply:
    """The reply to a request that was refused before it was sent, in the shape a worker would have given it."""
    return Reply(correlation_id, orjson.dumps(error.body()))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _invalid(reason: str) -> ReplyError:
    message = f"The reply cannot be read: {reason}. Is something other than Pelton writing to the reply topic?"
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": INVALID_REPLY}}
    return ReplyError(message, code=INVALID_REPLY, param=None, body=body)
