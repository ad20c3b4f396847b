"""The server-sent events of an answer while it is made, and of the end that the committed reply gives it."""

import time
from collections.abc import AsyncIterator
from typing import Any

from pelton.producers.errors import ReplyError
from pelton.producers.http.errors import ApiError
from pelton.producers.http.exchange import Exchange
from pelton.producers.http.live_text import LiveText
from pelton.producers.http.streaming import DONE, endings, event, no_usage
from pelton.producers.replies import Reply

SUPERSEDED = {
    "message": "The answer was made anew and begins differently than what was sent: ask again.",
    "type": "server_error",
    "param": None,
    "code": "stream_superseded",
}


async def live_events(exchange: Exchange, *, with_usage: bool) -> AsyncIterator[bytes]:
    """Pieces as they come; then what is missing of the reply, its end, usage and the mark. Closes the exchange."""
    head = {
        "id": f"chatcmpl-{exchange.correlation_id.decode('latin-1')}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        **no_usage(with_usage=with_usage),
    }
    text = LiveText()
    try:
        begun = False
        while (delta := await exchange.next_piece()) is not None:
            head["model"] = delta.model
            if content := text.piece(delta):
                yield event(head, [_content(content, begins=not begun)])
                begun = True
        for each in _end(exchange, head, text, with_usage=with_usage, begun=begun):
            yield each
    finally:
        exchange.close()


def _end(exchange: Exchange, head: dict[str, Any], text: LiveText, *, with_usage: bool, begun: bool) -> list[bytes]:
    """An error where the reply is one, or none came; the status is sent by now."""
    try:
        reply = exchange.reply()
        error = _error(reply)
    except ApiError as none:
        error = none.body()["error"]
    if error is not None:
        return [event({"error": error}), DONE]
    completion = reply.body()
    head["model"] = completion["model"]
    (choice,) = completion["choices"]
    rest = text.rest(choice["message"].get("content") or "")
    if rest is None:
        return [event({"error": SUPERSEDED}), DONE]
    last = [event(head, [_content(rest, begins=not begun)])] if rest else []
    return [*last, *endings(head, completion, with_usage=with_usage)]


def _content(content: str, *, begins: bool) -> dict[str, Any]:
    role = {"role": "assistant"} if begins else {}
    return {"index": 0, "delta": {**role, "content": content}, "logprobs": None, "finish_reason": None}


def _error(reply: Reply) -> dict[str, Any] | None:
    try:
        error = reply.error
    except ReplyError as invalid:
        error = invalid
    return None if error is None else dict(error.body["error"])
