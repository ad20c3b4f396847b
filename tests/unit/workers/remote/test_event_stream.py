"""A streamed answer put together is the answer, however its bytes arrive."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.remote.answer import InvalidAnswer, written_answer
from pelton.workers.remote.event_stream import StreamedCompletion

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def events(*deltas: dict[str, Any], end: str | None = "stop") -> bytes:
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": end}]})
    chunks.append({"choices": [], "usage": USAGE})
    told = b": keep-alive\n\n" + b"".join(b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in chunks)
    return told + b"data: [DONE]\n\n"


@given(st.lists(st.text(max_size=8), max_size=12), st.lists(st.integers(0, 2_000)))
def test_any_cut_of_the_bytes_gives_the_text(pieces: list[str], cuts: list[int]) -> None:
    """Within events, lines and characters; the text so far only grows."""
    heard: list[str] = []
    stream = StreamedCompletion(heard.append)
    raw = events({"role": "assistant"}, *({"content": piece} for piece in pieces))
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for start, end in itertools.pairwise(ends):
        stream.feed(raw[start:end])
    answer = written_answer(stream.completion())
    assert orjson.loads(answer.body)["choices"][0]["message"]["content"] == "".join(pieces)
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(heard))
    assert answer.generated_tokens == 4


def test_calls_and_reasoning_are_put_together() -> None:
    """Arguments come in pieces, by the number of their call."""
    stream = StreamedCompletion(lambda _: None)
    calls = [
        {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 1, "id": "2", "function": {"name": "g", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    stream.feed(events({"reasoning_content": "h"}, {"reasoning_content": "m"}, *({"tool_calls": [c]} for c in calls)))
    message = orjson.loads(written_answer(stream.completion()).body)["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    assert [(call["id"], call["function"]) for call in message["tool_calls"]] == [
        ("1", {"name": "f", "arguments": '{"a":1}'}), ("2", {"name": "g", "arguments": "{}"}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        events({"content": "x"}, end=None),
        b"data: {\n",
        b"data: 7\n",
        b'data: {"error":{"message":"no"}}\n',
        b'data: {"choices":[{"delta":{"content":7}}]}\n' * 2,
        b'data: {"choices":[{"delta":{"tool_calls":[{}]}}]}\n',
    ],
)
def test_a_stream_that_is_no_answer_says_so(raw: bytes) -> None:
    """As an attempt that failed."""
    stream = StreamedCompletion(lambda _: None)

    def read() -> bytes:
        stream.feed(raw)
        return written_answer(stream.completion()).body

    with pytest.raises(InvalidAnswer):
        read()
