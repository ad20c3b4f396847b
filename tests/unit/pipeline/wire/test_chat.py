"""The bodies on the wire, next to the classes OpenAI's client reads them with."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion as OpenAICompletion
from pydantic import BaseModel, ValidationError

from pelton.pipeline.wire.chat import (
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    Message,
    ReplyMessage,
    TextPart,
    Usage,
)

USAGE = Usage(prompt_tokens=5, completion_tokens=2, total_tokens=7)
LOGPROBS = ChoiceLogprobs.model_validate(
    {
        "content": [
            {
                "token": "4",
                "logprob": -0.5,
                "bytes": [52],
                "top_logprobs": [
                    {"token": "4", "logprob": -0.5, "bytes": [52]},
                    {"token": "\ufffd", "logprob": -9.0, "bytes": None},
                ],
            },
            {"token": "2", "logprob": 0.0, "bytes": [50], "top_logprobs": []},
        ]
    }
)


def reply(choice: Choice) -> ChatCompletion:
    return ChatCompletion(id="chatcmpl-1", created=1_700_000_000, model="m", choices=[choice], usage=USAGE)


def request(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields)


def models_in(value: Any) -> Iterator[BaseModel]:
    """A model and every model inside it."""
    if isinstance(value, list):
        for item in value:
            yield from models_in(item)
    elif isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from models_in(getattr(value, name))


CHOICES = [
    Choice(message=ReplyMessage(content="42"), finish_reason="stop"),
    Choice(message=ReplyMessage(content=""), finish_reason="length"),
    Choice(message=ReplyMessage(content="42"), finish_reason="stop", logprobs=LOGPROBS),
    Choice(message=ReplyMessage(content="42"), finish_reason="stop", logprobs=ChoiceLogprobs(content=[])),
    Choice(message=ReplyMessage(content="42"), finish_reason="stop", logprobs=ChoiceLogprobs(content=None)),
]


@pytest.mark.parametrize("choice", CHOICES, ids=["plain", "cut", "logprobs", "no logprobs", "null logprobs"])
def test_replies_are_openais_down_to_the_last_field(choice: Choice) -> None:
    """OpenAI's client validates every reply strictly, knows each of its fields, and reads back the same values."""
    written = reply(choice)
    read = OpenAICompletion.model_validate_json(written.model_dump_json(), strict=True)
    for model in models_in(read):
        assert not model.model_extra, f"{type(model).__name__} has fields that OpenAI does not know"
    assert read.model_dump(exclude_unset=True) == written.model_dump()


def test_reply_has_what_openai_requires() -> None:
    """Every field that OpenAI's classes require is always written, null included."""
    written = reply(CHOICES[0]).model_dump()
    for name, field in OpenAICompletion.model_fields.items():
        if field.is_required():
            assert name in written
    assert written["object"] == "chat.completion"
    assert written["choices"][0]["message"] == {"role": "assistant", "content": "42", "refusal": None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 4}, 4),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5),
        ({"max_tokens": None, "max_completion_tokens": None}, None),
    ],
)
def test_new_tokens_come_from_either_name(fields: dict[str, int | None], expected: int | None) -> None:
    """OpenAI's old and new name for the same limit; None leaves it to the worker's default."""
    assert request(**fields).new_tokens == expected


def test_different_limits_under_both_names_are_refused() -> None:
    """There is no telling which was meant."""
    with pytest.raises(ValidationError, match="set only max_completion_tokens"):
        request(max_tokens=5, max_completion_tokens=6)


@pytest.mark.parametrize(
    ("stop", "expected"), [(None, ()), ("END", ("END",)), (["a", "b"], ("a", "b")), ([], ()), (["ab"], ("ab",))]
)
def test_stop_strings_are_always_a_tuple(stop: str | list[str] | None, expected: tuple[str, ...]) -> None:
    """One string is one stop string, not its letters."""
    assert request(stop=stop).stop_strings == expected


def test_text_of_a_message_is_its_parts_joined_without_anything_between() -> None:
    """The prompt has exactly the sender's characters."""
    assert Message(role="user", content="a").text == "a"
    assert Message(role="user", content="").text == ""
    parts = [TextPart(type="text", text="a "), TextPart(type="text", text=""), TextPart(type="text", text="b")]
    assert Message(role="user", content=parts).text == "a b"


def test_requests_cannot_be_changed_after_validation() -> None:
    """What was validated is what runs."""
    with pytest.raises(ValidationError, match="frozen"):
        request().temperature = 3.0  # type: ignore[misc]  # that it cannot be set is the point


@pytest.mark.parametrize("top", [0, 20])
def test_top_logprobs_needs_logprobs(top: int) -> None:
    """As with OpenAI: the count alone asks for nothing that could be returned."""
    assert request(logprobs=True, top_logprobs=top).top_logprobs == top
    for logprobs in (None, False):
        with pytest.raises(ValidationError, match="top_logprobs needs logprobs"):
            request(logprobs=logprobs, top_logprobs=top)
