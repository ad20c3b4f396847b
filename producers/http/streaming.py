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
        first = {"index": choice["index"], "delta": _delta(choice["message"]), "logprobs": choice.get("logprobs")}
        events += [event(head, [first | {"finish_reason": None}]), event(head, [_last(choice)])]
    return [*events, *_closing(head, completion, with_usage=with_usage)]


def endings(head: dict[str, Any], completion: dict[str, Any], *, with_usage: bool) -> list[bytes]:
    """The chunks behind text that was sent already: all else that each message says, its end, usage, and the mark."""
    events: list[bytes] = []
    for choice in completion["choices"]:
        more = {name: value for name, value in _delta(choice["message"]).items() if name not in ("role", "content")}
        if more or choice.get("logprobs"):
            rest = {"index": choice["index"], "delta": more, "logprobs": choice.get("logprobs"), "finish_reason": None}
            events.append(event(head, [rest]))
        events.append(event(head, [_last(choice)]))
    return [*events, *_closing(head, completion, with_usage=with_usage)]


def event(head: dict[str, Any], choices: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
    """One event; without `choices` of what `head` says alone."""
    told = {} if choices is None else {"choices": choices}
    return b"data: " + orjson.dumps({**head, **told, **more}) + b"\n\n"


def _closing(head: dict[str, Any], completion: dict[str, Any], *, with_usage: bool) -> list[bytes]:
    return [event(head, [], usage=completion.get("usage")), DONE] if with_usage else [DONE]


def _last(choice: dict[str, Any]) -> dict[str, Any]:
    return {"index": choice["index"], "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    """The message's fields that say something; calls of tools are numbered, as chunks of them would be."""
    delta = {name: value for name, value in message.items() if value is not None}
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return delta
