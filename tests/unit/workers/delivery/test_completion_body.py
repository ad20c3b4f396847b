"""Log-probabilities as OpenAI gives them: bytes that make up the text, and no entry for what ended it."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from pelton.pipeline.wire.chat import Answer
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.delivery.completion_body import answer_body
from pelton.workers.engine.api import Completion, FinishReason, TokenLogprob
from tests.unit.workers.prepare._support.chat_families import chat_codec

CODEC, TOKENIZER = chat_codec("qwen3")
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
BODY = {"model": "m", "messages": [{"role": "user", "content": "?"}], "logprobs": True, "top_logprobs": 1}
REQUEST = decode_request(orjson.dumps(BODY), max_bytes=1_000_000)


def entries(text: str, *end: int, reason: FinishReason) -> list[dict[str, Any]]:
    """What an answer of `text`, a byte a token, has as `logprobs.content`."""
    ids = (*TOKENIZER(text, add_special_tokens=False)["input_ids"], *end)
    told = tuple(TokenLogprob(token, -0.5, ((END, -1.0),)) for token in ids)
    job = SimpleNamespace(request=REQUEST, prompt=[1])
    body = answer_body(SimpleNamespace(job=job, completion=Completion(0, ids, reason, 0.0, 0.0, told)), CODEC)  # type: ignore[arg-type]
    (choice,) = orjson.loads(body)["choices"]
    content: list[dict[str, Any]] = choice["logprobs"]["content"]
    return content


@pytest.mark.parametrize("text", ["Hello", "ä 👍", " lead"])
def test_the_bytes_of_all_tokens_are_the_text(text: str) -> None:
    """Characters in several tokens too: such a token shows escapes, and has its bytes."""
    content = entries(text, reason=FinishReason.LENGTH)
    assert bytes(byte for entry in content for byte in entry["bytes"]).decode() == text
    assert all(entry["token"] for entry in content)
    assert [entry["token"] for entry in entries("ä", reason=FinishReason.LENGTH)] == [r"\xc3", r"\xa4"]


def test_the_end_has_no_entry() -> None:
    """It is none of the text; where it is an alternative only, it goes by its name."""
    ended = entries("ab", END, reason=FinishReason.STOP)
    assert [entry["token"] for entry in ended] == ["a", "b"]
    assert ended[0]["top_logprobs"] == [{"token": "<|im_end|>", "logprob": -1.0, "bytes": list(b"<|im_end|>")}]


def test_an_end_that_was_ignored_is_listed() -> None:
    """`ignore_eos` goes on behind it, so the list keeps its places."""
    content = entries("a", END, END, reason=FinishReason.LENGTH)
    assert [entry["token"] for entry in content] == ["a", "<|im_end|>", "<|im_end|>"]


CALL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "Hello"),
        ({"logprobs": True, "top_logprobs": 1}, "Hello"),
        ({}, "<think>\nWhy?\n</think>\n\nHello"),
        ({"tools": [CALL]}, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'),
        ({"tools": [CALL]}, 'So:\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'),
    ],
    ids=["text", "logprobs", "reasoning", "call", "text-and-call"],
)
def test_a_body_is_what_its_models_say(asked: dict[str, Any], text: str) -> None:
    """Byte for byte: it is written without them, and read with them."""
    request = decode_request(orjson.dumps(BODY | {"logprobs": None, "top_logprobs": None} | asked), max_bytes=1_000_000)
    ids = tuple(TOKENIZER(text, add_special_tokens=False)["input_ids"])
    told = tuple(TokenLogprob(token, -0.5, ((END, -1.0),)) for token in ids) if "logprobs" in asked else None
    completion = Completion(0, ids, FinishReason.STOP, 0.0, 0.0, told)
    job = SimpleNamespace(request=request, prompt=[1])
    body = answer_body(SimpleNamespace(job=job, completion=completion), CODEC)  # type: ignore[arg-type]
    answer = Answer.model_validate_json(body)
    assert orjson.dumps(answer.model_dump()) == body
    assert bool(answer.choices[0].message.tool_calls) is ("tools" in asked)
    assert (answer.choices[0].message.reasoning_content is not None) is ("<think>" in text)
