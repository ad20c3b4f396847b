"""A chat completion that comes as server-sent events, put together again."""

from collections.abc import Callable
from typing import Any

import orjson

from pelton.workers.remote.answer import InvalidAnswer

_DATA = b"data:"
_DONE = b"[DONE]"
_JOINED = ("content", "reasoning_content", "refusal")
"""Fields of a message that come in pieces."""


class StreamedCompletion:
    """One answer with one choice. `on_text` is called with all of its text so far, whenever there is more."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._rest = b""
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None
        self._usage: Any = None

    def feed(self, piece: bytes) -> None:
        """Take in what has come. Raises `InvalidAnswer` for an event that is none, or reports an error."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(_DATA).strip()
            if line.startswith(_DATA) and data != _DONE:
                self._take(data)

    def completion(self) -> bytes:
        """The whole answer, as it would have come without a stream. Raises `InvalidAnswer` where its end is missing."""
        if self._finish_reason is None:
            raise InvalidAnswer("its stream ended too early")
        message = dict(self._message)
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        logprobs = {"content": self._logprobs} if self._logprobs else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": self._finish_reason}
        return orjson.dumps({"choices": [choice], "usage": self._usage})

    def _take(self, data: bytes) -> None:
        try:
            chunk = orjson.loads(data)
            if "error" in chunk:
                raise InvalidAnswer(f"its stream reports an error: {str(chunk['error'])[:200]}")
            self._usage = chunk.get("usage") or self._usage
            for choice in chunk.get("choices") or ():
                self._add(choice)
        except (orjson.JSONDecodeError, AttributeError, LookupError, TypeError) as error:
            raise InvalidAnswer(f"its stream has an event that is none ({error!r})") from None

    def _add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        for name in _JOINED:
            if delta.get(name):
                self._message[name] = (self._message.get(name) or "") + delta[name]
        for call in delta.get("tool_calls") or ():
            self._add_call(call)
        self._logprobs += (choice.get("logprobs") or {}).get("content") or []
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if delta.get("content"):
            self._on_text(self._message["content"])

    def _add_call(self, piece: dict[str, Any]) -> None:
        """The first piece of a call has its id and name, the others more of its arguments."""
        call = self._calls.setdefault(
            piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = call["id"] or piece.get("id") or ""
        for name, value in (piece.get("function") or {}).items():
            call["function"][name] = call["function"].get(name, "") + (value or "")
