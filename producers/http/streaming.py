"""A finished completion as the server-sent events that clients of `stream: true` read."""

from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"


def chunks(completion: dict[str, Any], *, with_usage: bool) -> list[bytes]:
    """OpenAI's chunks for a `chat.completion` object: role and text, the end of each choice, usage, and the mark.

    Their text joined is the completion's text, to the letter.
    """
    head = {
        "id": completion["id"],
        "object": "chat.completion.chunk",
        "created": completion["created"],
        "model": completion["model"],
    }
    events: list[bytes] = []
    for choice in completion["choices"]:
        index = choice["index"]
        first = {"index": index, "delta": _delta(choice["message"]), "logprobs": choice.get("logprobs")}
        last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        events += [_event(head, [first | {"finish_reason": None}]), _event(head, [last])]
    if with_usage:
        events.append(_event(head, [], usage=completion.get("usage")))
    return [*events, DONE]


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    """The message's fields that say something; calls of tools are numbered, as chunks of them would be."""
    delta = {name: value for name, value in message.items() if value is not None}
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return delta


def _event(head: dict[str, Any], choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: " + orjson.dumps({**head, "choices": choices, **more}) + b"\n\n"
