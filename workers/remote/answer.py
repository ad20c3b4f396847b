"""From an endpoint's chat completion to the part of a reply that equal requests share."""

from typing import Any

import orjson
from pydantic import ValidationError

from pelton.pipeline.wire.chat import Answer
from pelton.workers.engine.api import WrittenAnswer


class InvalidAnswer(Exception):
    """What the endpoint sent is no chat completion; the message says what is wrong with it."""


def written_answer(body: bytes) -> WrittenAnswer:
    """`choices` and `usage` as the endpoint has them, once they are known to be what clients can read.

    What an endpoint adds to them is kept; null stands for nothing there. Raises `InvalidAnswer`.
    """
    try:
        completion = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"it is not JSON ({error})") from None
    if not isinstance(completion, dict) or not completion.get("choices"):
        raise InvalidAnswer("it has no choices")
    answer = {"choices": completion["choices"], "usage": _usage(completion.get("usage"))}
    _fill(answer["choices"])
    try:
        read = Answer.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidAnswer(f"{place}: {first['msg']}") from None
    usage = read.usage
    cached = usage.prompt_tokens_details.cached_tokens
    return WrittenAnswer(orjson.dumps(answer), usage.prompt_tokens, usage.completion_tokens, cached)


def _usage(given: Any) -> Any:
    """An endpoint that does not count has used nothing that is known."""
    if given is None:
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return _without_nulls(given)


def _without_nulls(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    return {name: _without_nulls(value) for name, value in given.items() if value is not None}


def _fill(choices: Any) -> None:
    """An answer of nothing is an empty text, as in Pelton's own replies: histories are read by it."""
    if not isinstance(choices, list):
        return
    for index, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict):
            choice.setdefault("index", index)
            message.setdefault("content", None)
            if message["content"] is None and not message.get("tool_calls"):
                message["content"] = ""
            if message.get("tool_calls", ()) in (None, []):
                del message["tool_calls"]
