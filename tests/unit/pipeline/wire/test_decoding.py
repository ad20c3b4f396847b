"""Decoding request bodies: what is accepted, and that everything else names the field and the fix."""

from typing import Any

import orjson
import pytest

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from tests.unit.pipeline.wire._support.bodies import BODY, MAX_BYTES, TURNS, decode, refusal, said

# --- bytes


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "empty_record"),
        (b"", "invalid_json"),
        (b"  ", "invalid_json"),
        (b"hello", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{'model': 'm'}", "invalid_json"),
        (b'{"model": "m",}', "invalid_json"),
        (b'{"temperature": NaN}', "invalid_json"),
        (b'{"temperature": 1e999}', "invalid_json"),
        (b'{"model": "\\ud800"}', "invalid_json"),
        (b'{"model": "a\nb"}', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 100_000, "invalid_json"),
        (b"\xff", "not_utf8"),
        (b'{"model": "\xe9"}', "not_utf8"),
        (b'{"model": "\xed\xa0\x80"}', "not_utf8"),
        ('{"model": "m"}'.encode("utf-16"), "not_utf8"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b"[{}]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"17", "not_an_object"),
        (b"true", "not_an_object"),
        (b"{}", "missing_required_parameter"),
    ],
)
def test_values_that_are_no_body(value: bytes | None, code: str) -> None:
    """Each way not to be a JSON object has its own code."""
    with pytest.raises(RequestError) as caught:
        decode_request(value, max_bytes=MAX_BYTES)
    assert caught.value.code == code


def test_size_limit_is_inclusive_and_told() -> None:
    """A body of exactly the limit is read; one byte more is refused before it is parsed, with both numbers."""
    value = orjson.dumps(BODY)
    assert decode_request(value, max_bytes=len(value)).model == "default"
    with pytest.raises(RequestError, match=r"worker\.max_request_bytes") as caught:
        decode_request(b"\xff" * 2_001, max_bytes=2_000)
    assert caught.value.code == "request_too_large"
    assert "2,001" in caught.value.message
    assert "2,000" in caught.value.message


# --- what is supported


def test_the_smallest_body() -> None:
    """A model and one message are enough."""
    request = decode(BODY)
    assert (request.model, request.messages[0].text, request.new_tokens) == ("default", "How much?", None)


def test_every_supported_field() -> None:
    """All supported fields at once, each with the value that was sent."""
    fields: dict[str, Any] = {
        "max_completion_tokens": 7,
        "max_tokens": 7,
        "temperature": 1,
        "top_p": 0.5,
        "frequency_penalty": -2,
        "presence_penalty": 0.5,
        "seed": -(2**63),
        "stop": ["a", "b", "c", "d"],
        "logprobs": True,
        "top_logprobs": 20,
        "n": 8,
        "logit_bias": {"17": -100},
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "stop_token_ids": [7],
        "min_tokens": 3,
        "ignore_eos": False,
        "tools": [{"type": "function", "function": {"name": "clock"}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "response_format": {"type": "text"},
        "structured_outputs": {"regex": "a+"},
        "metadata": {"desk": "rates"},
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    assert BODY.keys() | fields.keys() == ChatRequest.model_fields.keys()
    assert decode(BODY | fields).model_dump(by_alias=True, exclude_unset=True) == BODY | fields


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_tokens", [1, 2**40]),
        ("max_completion_tokens", [1]),
        ("temperature", [0, 0.0, 2, 2.0]),
        ("top_p", [0, 1e-9, 1]),
        ("frequency_penalty", [-2, 0.0, 2]),
        ("presence_penalty", [-2, 0.0, 2]),
        ("seed", [-(2**63), 0, 2**63 - 1]),
        ("stop", ["x", [], ["x"] * 4]),
        ("metadata", [{}, {"": ""}]),
        ("user", [""]),
    ],
)
def test_limits_are_inside_what_is_allowed(name: str, values: list[Any]) -> None:
    """The first and the last allowed value of each field are taken as they are."""
    for value in values:
        assert getattr(decode(BODY | {name: value}), name) == value


# --- what is refused


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"modle": "x"}, "unknown_parameter", "modle"),
        ({"": 1}, "unknown_parameter", ""),
        ({"str": 1}, "unknown_parameter", "str"),
        ({"list[str]": 1}, "unknown_parameter", "list[str]"),
        ({"constrained-str": 1}, "unknown_parameter", "constrained-str"),
        ({"content": 1}, "unknown_parameter", "content"),
        ({"metadata": {"str": 1}}, "invalid_value", "metadata.str"),
        ({"metadata": {"stop": 1}}, "invalid_value", "metadata.stop"),
        ({"metadata": []}, "invalid_value", "metadata"),
        ({"model": None}, "invalid_value", "model"),
        ({"model": 4}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": None}, "invalid_value", "messages"),
        ({"messages": {}}, "invalid_value", "messages"),
        ({"messages": "hi"}, "invalid_value", "messages"),
        ({"messages": [*TURNS, "hi"]}, "invalid_value", "messages[1]"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"max_tokens": True}, "invalid_value", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_value", "max_tokens"),
        ({"max_tokens": 5.0}, "invalid_value", "max_tokens"),
        ({"temperature": -0.1}, "invalid_value", "temperature"),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"temperature": True}, "invalid_value", "temperature"),
        ({"top_p": -0.1}, "invalid_value", "top_p"),
        ({"top_p": 1.1}, "invalid_value", "top_p"),
        ({"frequency_penalty": False}, "invalid_value", "frequency_penalty"),
        ({"presence_penalty": 2.1}, "invalid_value", "presence_penalty"),
        ({"seed": 2**63}, "invalid_value", "seed"),
        ({"seed": 1.5}, "invalid_value", "seed"),
        ({"stop": ""}, "invalid_value", "stop"),
        ({"stop": 5}, "invalid_value", "stop"),
        ({"stop": [""]}, "invalid_value", "stop[0]"),
        ({"stop": ["a", 3]}, "invalid_value", "stop[1]"),
        ({"stop": list("abcde")}, "invalid_value", "stop"),
        ({"logprobs": 1}, "invalid_value", "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
        ({"user": 1}, "invalid_value", "user"),
    ],
    ids=str,
)
def test_faulty_field_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    """The error's `param` is the field's path as the sender knows it, and the message has it, too."""
    error = refusal(**fields)
    assert (error.code, error.param) == (code, param)
    assert repr(param) in error.message


@pytest.mark.parametrize(
    ("turn", "code", "param"),
    [
        ({}, "missing_required_parameter", "role"),
        ({"role": "user"}, "missing_required_parameter", "content"),
        ({"role": "wizard", "content": "x"}, "invalid_value", "role"),
        ({"role": ["user"], "content": "x"}, "invalid_value", "role"),
        ({"role": "user", "content": None}, "invalid_value", "content"),
        ({"role": "user", "content": 5}, "invalid_value", "content"),
        ({"role": "user", "content": []}, "invalid_value", "content"),
        ({"role": "user", "content": {}}, "invalid_value", "content"),
        ({"role": "user", "content": ["x"]}, "invalid_value", "content[0]"),
        ({"role": "user", "content": [{}]}, "missing_required_parameter", "content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "missing_required_parameter", "content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "invalid_value", "content[0].text"),
        ({"role": "user", "content": [{"type": "txt", "text": "x"}]}, "invalid_value", "content[0].type"),
        ({"role": "user", "content": [{"type": {}, "text": "x"}]}, "invalid_value", "content[0].type"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "str": 1}]}, "unknown_parameter", "content[0].str"),
        ({"role": "user", "content": "x", "contents": "y"}, "unknown_parameter", "contents"),
        ({"role": "user", "content": "x", "name": 5}, "invalid_value", "name"),
        ({"role": "assistant", "content": "x", "tool_calls": [{}]}, "missing_required_parameter", "tool_calls[0].id"),
    ],
    ids=str,
)  # fmt: skip
def test_faulty_place_in_a_message_is_named(turn: dict[str, Any], code: str, param: str) -> None:
    """Inside messages, too, the path leads to the very field."""
    error = said(turn)
    assert (error.code, error.param) == (code, f"messages[1].{param}")
    assert f"messages[1].{param}" in error.message


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 6}, ["max_tokens", "max_completion_tokens"]),
        ({"top_logprobs": 2}, ["top_logprobs", "logprobs"]),
        ({"top_logprobs": 0, "logprobs": False}, ["top_logprobs", "logprobs"]),
        ({"tool_choice": "required"}, ["tool_choice", "tools"]),
        ({"min_tokens": 5, "max_tokens": 4}, ["min_tokens", "max_completion_tokens"]),
    ],
)
def test_fields_that_contradict_each_other_are_both_named(fields: dict[str, Any], names: list[str]) -> None:
    """Where no single field is at fault the message says which do not go together; `param` is one of them."""
    error = refusal(**fields)
    assert error.code == "invalid_value"
    assert error.param in names
    assert all(name in error.message for name in names)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stop": ""}, "at least 1 character"),
        ({"stop": 5}, "valid string"),
        ({"stop": list("abcde")}, "at most 4 items"),
        ({"messages": [{"role": "user", "content": []}]}, "at least 1 item"),
        ({"messages": [{"role": "user", "content": 5}]}, "valid string"),
        ({"messages": [{"role": "user", "content": [7]}]}, "must be an object, got the number 7"),
    ],
)
def test_of_two_allowed_forms_the_one_that_was_meant_is_explained(fields: dict[str, Any], words: str) -> None:
    """Whoever sent an array reads what is wrong with the array, not that a string would do."""
    assert words in refusal(**fields).message


def test_the_wording_is_for_senders() -> None:
    """Messages speak of JSON, never of the classes that validate it."""
    errors = (
        said("hi"),
        said({"role": "user", "content": ["x"]}),
        said({"role": 1}),
        refusal(metadata=3),
        refusal(response_format="json_object"),
        refusal(logit_bias={"x": 1}),
    )
    for error in errors:
        assert "[key]" not in f"{error.message} {error.param}"
        for word in ("instance", "TextPart", "Message ", "dictionary", "pydantic", "dict", "NoneType"):
            assert word not in error.message
