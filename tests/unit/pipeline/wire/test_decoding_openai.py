"""Bodies next to OpenAI's own vocabulary: each name is taken or refused by name, and no body breaks anything."""

import json
from typing import Any, get_args, get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import chat
from openai.types.chat import completion_create_params as create

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire import decoding
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from tests.unit.pipeline.wire._support.bodies import BODY, MAX_BYTES, TURNS, decode, refusal, said

OPENAI_FIELDS = sorted(
    get_type_hints(create.CompletionCreateParamsNonStreaming) | get_type_hints(create.CompletionCreateParamsStreaming)
)
MESSAGE_TYPES = get_args(chat.ChatCompletionMessageParam)
MESSAGE_FIELDS = sorted({name for kind in MESSAGE_TYPES for name in get_type_hints(kind)})
PART_TYPES = (*get_args(chat.ChatCompletionContentPartParam), chat.ChatCompletionContentPartRefusalParam)
NEUTRAL = [(name, value) for name, values in decoding._UNSUPPORTED.items() for value in (None, *values)]


@pytest.mark.parametrize("name", OPENAI_FIELDS)
def test_every_openai_field_is_known(name: str) -> None:
    """Each field OpenAI's client knows is supported or refused as unsupported, never called unknown."""
    error = refusal(**{name: {"unlikely": [1]}})
    inside = error.code == "unknown_parameter" and error.param == f"{name}.unlikely"
    assert inside or error.code in ("unsupported_parameter", "invalid_value")
    assert (error.param or "").partition(".")[0] == name
    assert name in error.message


VLLM_FIELDS = {
    "structured_outputs",
    "chat_template_kwargs",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop_token_ids",
    "min_tokens",
    "ignore_eos",
}


def test_every_field_we_know_is_openais_or_vllms() -> None:
    """There are no fields of our own: a body for Pelton is a body for OpenAI, or has what vLLM adds to such."""
    known = ChatRequest.model_fields.keys() | decoding._UNSUPPORTED.keys()
    assert set(OPENAI_FIELDS) <= known
    assert known - set(OPENAI_FIELDS) <= VLLM_FIELDS
    assert not ChatRequest.model_fields.keys() & decoding._UNSUPPORTED.keys()


@pytest.mark.parametrize("name", MESSAGE_FIELDS)
def test_every_openai_message_field_is_known(name: str) -> None:
    """The same for the fields of a message."""
    error = said({"role": "user", "content": "x"} | {name: {"unlikely": 1}})
    assert error.code in ("unsupported_parameter", "invalid_value")
    assert error.param == f"messages[1].{name}"


@pytest.mark.parametrize("role", sorted({get_args(get_type_hints(kind)["role"])[0] for kind in MESSAGE_TYPES}))
def test_every_openai_role_is_known(role: str) -> None:
    """The same for roles: taken, or refused as unsupported."""
    turn = {"role": role, "content": "x"}
    if role == "tool":
        turn["tool_call_id"] = "call_1"
    if role == "function":
        assert (said(turn).code, said(turn).param) == ("unsupported_parameter", "messages[1].role")
    else:
        assert decode(BODY | {"messages": [turn]}).messages[0].role == role


@pytest.mark.parametrize("kind", PART_TYPES, ids=lambda kind: kind.__name__)
def test_every_openai_content_part_is_known(kind: Any) -> None:
    """The same for content parts and their fields: only text is taken, the rest is refused as unsupported."""
    hints = get_type_hints(kind)
    (name,) = get_args(hints["type"])
    part: dict[str, Any] = {"type": name, name: "x"}
    if name != "text":
        error = said({"role": "user", "content": [part]})
        assert (error.code, error.param) == ("unsupported_parameter", "messages[1].content[0].type")
    for other in hints.keys() - {"type", name}:
        error = said({"role": "user", "content": [part | {other: {"unlikely": 1}}]})
        assert error.code == "unsupported_parameter"


# --- what asks for nothing, and what does not


@pytest.mark.parametrize(("name", "value"), NEUTRAL, ids=str)
def test_unsupported_field_that_asks_for_nothing_passes(name: str, value: Any) -> None:
    """OpenAI's own defaults may be spelled out: they change nothing."""
    assert decode(BODY | {name: value}) == decode(BODY)


@pytest.mark.parametrize("name", sorted(ChatRequest.model_fields.keys() - BODY.keys()))
def test_null_is_as_good_as_absent(name: str) -> None:
    """Clients that send every optional field as null mean the default."""
    assert decode(BODY | {name: None}) == decode(BODY)


def test_parts_are_read_as_text() -> None:
    """Content as an array of text parts is the parts one after the other."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "prompt_cache_breakpoint": None}]
    request = decode(BODY | {"messages": [{"role": "system", "content": parts}]})
    assert request.messages[0].text == "ab"


# --- what is refused


def test_own_and_openais_replies_can_be_sent_back_as_history() -> None:
    """The usual chat loop appends the reply's message as the client library dumps it, empty fields included."""
    dumped = chat.ChatCompletionMessage(role="assistant", content="42").model_dump()
    turns = [*TURNS, dumped, dumped | {"annotations": [], "tool_calls": []}, *TURNS]
    assert [message.text for message in decode(BODY | {"messages": turns}).messages] == [
        "How much?",
        "42",
        "42",
        "How much?",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", True),
        ("stream", 0),
        ("store", True),
        ("modalities", ["text", "audio"]),
    ],
    ids=str,
)
def test_unsupported_field_that_asks_for_something_is_refused(name: str, value: Any) -> None:
    """What is not built is never ignored; the message names the field and what to send instead."""
    error = refusal(**{name: value})
    assert (error.code, error.param) == ("unsupported_parameter", name)
    assert "leave it out" in error.message


# --- anything at all

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=5
)
PARTS = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["text", "file"]) | JSON, "text": st.text() | JSON})
TURN = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "system", "tool"]) | JSON,
        "content": st.text() | st.lists(PARTS, max_size=2) | JSON,
        "name": JSON,
        "str": JSON,
    },
)
NEARLY = st.fixed_dictionaries(
    {"model": st.text() | JSON, "messages": st.lists(TURN | JSON, max_size=3) | JSON},
    optional={name: JSON for name in ChatRequest.model_fields if name not in BODY} | {"str": JSON},
)


def outcome(value: bytes) -> ChatRequest | RequestError:
    try:
        return decode_request(value, max_bytes=MAX_BYTES)
    except RequestError as error:
        return error


def decodes_or_explains(value: bytes) -> None:
    """The property of all inputs: a request, or a `RequestError` that can be sent."""
    result = outcome(value)
    if isinstance(result, ChatRequest):
        assert ChatRequest.model_validate(result.model_dump()) == result
    else:
        assert result.message.strip()
        assert len(orjson.dumps(result.body())) < 10_000


@settings(max_examples=150, deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_decode_or_explain(value: bytes) -> None:
    """No bytes raise anything but a `RequestError`."""
    decodes_or_explains(value)


@settings(max_examples=150, deadline=None)
@given(JSON | st.dictionaries(st.sampled_from(OPENAI_FIELDS) | st.text(), JSON))
def test_any_json_decodes_or_explains(body: Any) -> None:
    """No JSON raises anything but a `RequestError`, integers of any size included."""
    decodes_or_explains(json.dumps(body).encode())


@settings(max_examples=60, deadline=None)  # `make fuzz` tries thousands
@given(NEARLY)
def test_anything_like_a_request_decodes_or_explains(body: Any) -> None:
    """Nor does a body that has the right fields with any values in them, at any depth."""
    decodes_or_explains(json.dumps(body).encode())


@pytest.mark.parametrize(
    "fields",
    [{"x" * 900_000: 1}, {"metadata": {"x" * 900_000: 1}}, {"user": ["x" * 900_000]}, {"seed": "x" * 900_000}],
    ids=["field", "metadata key", "value", "string"],
)
def test_errors_stay_small_however_large_the_body(fields: dict[str, Any]) -> None:
    """An error quotes the sender, but never so much that the reply would not fit its topic."""
    assert len(orjson.dumps(refusal(**fields).body())) < 5_000


def test_what_openais_client_has_read_can_be_sent_back() -> None:
    """Its own message objects, of `parse()` and of `stream()`, hold copies of what they say: they are passed over."""
    function = {"name": "f", "arguments": "{}", "parsed_arguments": {}}
    call = {"id": "c", "type": "function", "function": function, "index": 0}
    turn = {"role": "assistant", "content": "{}", "parsed": {"a": 1}, "refusal": None, "tool_calls": [call]}
    message = decode(BODY | {"messages": [*TURNS, turn]}).messages[-1]
    assert message.content == "{}"
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == "{}"


def test_only_an_assistant_has_parsed_anything() -> None:
    assert said({"role": "user", "content": "x", "parsed": {}}).param == "messages[1].parsed"
