"""A finished answer as chunks: what each of them has to say."""

from typing import Any

import orjson
import pytest

from pelton.producers.http.streaming import DONE, chunks

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def completion(*texts: str) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return {"id": "x", "created": 1, "model": "m", "choices": choices, "usage": USAGE}


def parsed(events: list[bytes]) -> list[dict[str, Any]]:
    assert events[-1] == DONE
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-1]]


def test_usage_where_it_is_asked_for():
    """The last chunk has it, without choices; all others have the field with null, as OpenAI's have."""
    *others, last = parsed(chunks(completion("one", "two"), with_usage=True))
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert [chunk["usage"] for chunk in others] == [None] * 4


@pytest.mark.parametrize("count", [1, 3])
def test_no_usage_where_it_is_not(count):
    """Not even the field: clients that know nothing of it see nothing of it."""
    found = parsed(chunks(completion(*["text"] * count), with_usage=False))
    assert not any("usage" in chunk for chunk in found)
    assert [chunk["choices"][0]["finish_reason"] for chunk in found] == [None, "stop"] * count
