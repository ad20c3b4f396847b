"""What a request says of streaming, and a finished completion as the server-sent events of `stream: true`."""

from dataclasses import dataclass
from typing import Any

import orjson

from pelton.producers.http.errors import BadRequest

DONE = b"data: [DONE]\n\n"
_KNOWN = ("include_usage", "include_obfuscation")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The fields that the server answers itself, and workers never see."""

    stream: bool = False
    include_usage: bool = False


def take_stream_options(body: dict[str, Any]) -> StreamOptions:
    """Take `stream` and `stream_options` out of a body. Raises `BadRequest`."""
    stream, options = body.pop("stream", None), body.pop("stream_options", None)
    _must_be_bool("stream", stream)
    if options is None:
        return StreamOptions(bool(stream))
    if not stream:
        message = "stream_options is taken only where stream is true: leave it out, or send stream."
        raise BadRequest(message, code="invalid_value", param="stream_options")
    if not isinstance(options, dict):
        raise BadRequest("stream_options must be an object.", code="invalid_value", param="stream_options")
    for name, value in options.items():
        param = f"stream_options.{name[:80]}"
        if name not in _KNOWN:
            raise BadRequest(f"Unknown parameter {param!r}: leave it out.", code="unknown_parameter", param=param)
        _must_be_bool(param, value)
    if options.get("include_obfuscation"):
        param = "stream_options.include_obfuscation"
        message = f"Parameter {param!r} is not supported by this version: leave it out or send false."
        raise BadRequest(message, code="unsupported_parameter", param=param)
    return StreamOptions(stream=True, include_usage=bool(options.get("include_usage")))


def _must_be_bool(param: str, value: object) -> None:
    if not isinstance(value, bool | None):
        raise BadRequest(f"Invalid {param!r}: must be true or false.", code="invalid_value", param=param)


def chunks(completion: dict[str, Any], *, with_usage: bool) -> list[bytes]:
    """OpenAI's chunks for a `chat.completion` object: role and text, the end of each choice, usage, and the mark.

    Their text joined is the completion's text, to the letter.
    """
    head = {
        "id": completion["id"],
        "object": "chat.completion.chunk",
        "created": completion["created"],
        "model": completion["model"],
        **no_usage(with_usage=with_usage),
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


def no_usage(*, with_usage: bool) -> dict[str, None]:
    """Where the last chunk has the usage, all others have the field too, with null."""
    return {"usage": None} if with_usage else {}


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
