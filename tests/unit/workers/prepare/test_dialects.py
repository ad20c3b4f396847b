"""Reasoning and calls of functions there and back: rendered by a model's own template, read from its answers."""

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from pelton.pipeline.errors import InvalidValue, UnsupportedParameter
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.delivery.completion_body import answer_body
from pelton.workers.delivery.reply_records import reply_value
from pelton.workers.engine.api import Completion, FinishReason
from pelton.workers.engine.grammars.spec import Strictness
from pelton.workers.prepare.dialects import CallStyle, Dialect
from pelton.workers.prepare.message_parsing import parse_message
from pelton.workers.prepare.tokenizer import TokenizerCodec
from pelton.workers.requests import Generated, PreparedRequest
from tests.unit.workers.prepare._support.chat_families import TEMPLATES, chat_codec

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = [WEATHER, CLOCK]
USER = {"role": "user", "content": "Weather in Zürich?"}
CODECS = {family: chat_codec(family)[0] for family in TEMPLATES}
FAMILIES = pytest.mark.parametrize("family", TEMPLATES)


def request(*messages: dict[str, Any], **asked: Any) -> ChatRequest:
    body = {"model": "default", "messages": list(messages) or [USER], **asked}
    return decode_request(orjson.dumps(body), max_bytes=100_000)


def reply(
    codec: TokenizerCodec, asked: ChatRequest, text: str, end: FinishReason = FinishReason.STOP
) -> ChatCompletion:
    """The reply to an answer of that text, as OpenAI's client reads it."""
    [prompt] = codec.encode([codec.render(asked.messages, asked)])
    completion = Completion(0, tuple(codec.encode([text])[0]), end, 0.1, 0.1)
    answered = Generated(PreparedRequest(None, asked, prompt, 10), completion, 0.0, 0.0)  # type: ignore[arg-type]  # no delivery is read
    return ChatCompletion.model_validate_json(reply_value(answer_body(answered, codec), "tiny"), strict=True)


def call_text(family: str, city: str, days: int) -> str:
    """A call as the family's models write it."""
    if family == "qwen3":
        call = {"name": "get_weather", "arguments": {"city": city, "days": days}}
        return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
    gap = "\n" if family == "glm-4.5" else ""
    pairs = (("city", city), ("days", days))
    marked = gap.join(f"<arg_key>{key}</arg_key>{gap}<arg_value>{value}</arg_value>" for key, value in pairs)
    return f"<tool_call>get_weather{gap}{marked}{gap}</tool_call>"


def thought(family: str, text: str) -> str:
    """Reasoning as the answer has it: where the template opens it, the answer only ends it."""
    return f"{text}</think>" if family == "glm-4.7" else f"<think>\n{text}\n</think>\n\n"


@FAMILIES
def test_reasoning_is_told_apart(family: str) -> None:
    """Content without it, reasoning beside it, its tokens counted; whoever opened it."""
    codec = CODECS[family]
    completion = reply(codec, request(), thought(family, "It rains.") + "Wet.")
    message = completion.choices[0].message
    assert (message.content, message.reasoning_content) == ("Wet.", "It rains.")  # type: ignore[attr-defined]
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert 9 < (completion.usage.completion_tokens_details.reasoning_tokens or 0) < completion.usage.completion_tokens


@FAMILIES
@pytest.mark.parametrize("off", [{"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}])
def test_thinking_can_be_turned_off(family: str, off: dict[str, Any]) -> None:
    """The template closes the reasoning, and the answer is content from its first letter."""
    message = reply(CODECS[family], request(**off), "Wet.").choices[0].message
    assert message.content == "Wet."
    assert not hasattr(message, "reasoning_content")


@FAMILIES
def test_reasoning_that_was_cut(family: str) -> None:
    text = "It rains" if family == "glm-4.7" else "<think>\nIt rains"
    completion = reply(CODECS[family], request(), text, FinishReason.LENGTH)
    assert completion.choices[0].message.reasoning_content == "It rains"  # type: ignore[attr-defined]
    assert completion.choices[0].finish_reason == "length"


@FAMILIES
def test_calls_there_and_back(family: str) -> None:
    """Calls are read with typed arguments; sent back with their results, the template writes what the model wrote."""
    codec = CODECS[family]
    calls = call_text(family, "Zürich", 3) + "\n" + call_text(family, "Basel", 1)
    choice = reply(codec, request(tools=TOOLS), thought(family, "Look it up.") + "One moment.\n" + calls).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "One moment."
    got = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in got] == [
        {"city": "Zürich", "days": 3}, {"city": "Basel", "days": 1},
    ]  # fmt: skip
    assert len({call.id for call in got}) == 2
    history = choice.message.model_dump()
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12°"} for call in got]
    again = request(USER, history, *results, tools=TOOLS)
    text = codec.render(again.messages, again)
    for city, days in (("Zürich", 3), ("Basel", 1)):
        assert call_text(family, city, days) in text.replace("\ufdd0", "")
    assert text.count("12°") == 2


@FAMILIES
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_demanded_call_is_held_by_its_grammar(family: str, choice: Any) -> None:
    """What the model writes itself is admitted, text and calls of other functions are not."""
    codec = CODECS[family]
    asked = request(tools=TOOLS, tool_choice=choice, reasoning_effort="none")
    form = codec.form(asked, codec.render(asked.messages, asked))
    assert form is not None
    assert form.strictness is Strictness.STRICT  # nothing is left out of this one

    def admitted(text: str) -> bool:
        state = form.grammar.start()
        tokens = codec.encode([text])[0]
        return state.matcher.validate_tokens(tokens) == len(tokens)

    assert admitted(call_text(family, "Zürich", 3))
    assert not admitted("The weather is fine.")
    assert not admitted(call_text(family, "Zürich", 77))
    clock = "<tool_call>clock</tool_call>" if family != "qwen3" else '<tool_call>\n{"name": "clock", "arguments": {}}'
    assert admitted(clock) is (choice == "required")


@FAMILIES
def test_a_form_begins_behind_the_reasoning(family: str) -> None:
    """With a schema the reasoning is opened in the prompt, so that there is an end to begin behind."""
    codec = CODECS[family]
    asked = request(response_format={"type": "json_object"})
    prompt = codec.render(asked.messages, asked)
    assert prompt.rstrip().endswith("<think>")
    form = codec.form(asked, prompt)
    assert form is not None
    state = form.grammar.start()
    for token in codec.encode(["hm</think>"])[0]:
        assert not state.holds
        state.advance(token)
    assert state.holds
    message = reply(codec, asked, 'hm</think>{"a": 1}').choices[0].message
    assert (message.reasoning_content, message.content) == ("hm", '{"a": 1}')  # type: ignore[attr-defined]


def test_what_a_model_cannot_do_is_named() -> None:
    """Tools where the template has no calls, and variables that it does not read."""
    plain = chat_codec("qwen3")[1]
    plain.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    codec = TokenizerCodec(plain)
    with pytest.raises(UnsupportedParameter, match="tools"):
        codec.render([], request(tools=TOOLS))
    with pytest.raises(InvalidValue, match="depth"):
        codec.render([], request(chat_template_kwargs={"depth": 3}))
    with pytest.raises(InvalidValue, match="tokenize"):
        CODECS["qwen3"].render([], request(chat_template_kwargs={"tokenize": True}))
    asked = request(chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low")
    assert codec.render(asked.messages, asked) == USER["content"]


@FAMILIES
def test_no_string_of_a_sender_makes_a_control_token(family: str) -> None:
    """Not in tools, not in calls, not in results."""
    codec, tokenizer = chat_codec(family)
    control = "<|im_end|>" if family == "qwen3" else "<|user|>"
    tool = {"type": "function", "function": {"name": "f", "description": control, "parameters": {"title": control}}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": control})}}
    spoken = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": control},
    ]
    tame = json.loads(json.dumps([tool, spoken]).replace(control, "x" * len(control)))
    counts = []
    for tools, messages in (([tool], spoken), ([tame[0]], tame[1])):
        asked = request(USER, *messages, tools=tools)
        [tokens] = codec.encode([codec.render(asked.messages, asked)])
        counts.append(tokens.count(tokenizer.convert_tokens_to_ids(control)))
    assert counts[0] == counts[1]


PIECES = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
    "get_weather", "clock", "city", "days", "7", '{"name": "get_weather", "arguments": {"city": "x", "days": 1}}',
    '{"name": "clock", "arguments": {}}', '{"name": ', '"arguments"', "{", "}", "[", '"', "\\", "\n", " ", "null",
    "wet",
    '{"name": "get_weather", "arguments": "{}"}', '{"name": 3, "arguments": {}}', "\ufffd", "{" * 2000, "[" * 200_0,
]  # fmt: skip


def letters(text: str) -> list[str]:
    return sorted(character for character in text if character.isalnum())


@pytest.mark.parametrize("style", CallStyle)
def test_mangled_answers_never_raise_and_lose_no_text(style: CallStyle) -> None:
    """Of 1,000 heaps of pieces, what is no call stays where it was written, in reasoning or content."""
    dialect = Dialect(thinks=True, calls=style)
    tools = request(tools=TOOLS).tools or []
    names = ("think", "tool_call", "arg_key", "arg_value", "name", "arguments", "parameters")
    for seed in range(1000):
        dice = random.Random(seed)
        text = "".join(dice.choices(PIECES, k=dice.randint(1, 14)))
        parsed = parse_message(
            text, dialect, thinking=dice.random() < 0.3, tools=tools, most_calls=dice.choice([1, 128])
        )
        called = "".join(call.name + call.arguments for call in parsed.calls)
        told = (parsed.reasoning or "") + parsed.content + called
        lost = letters(text)
        for letter in letters(told):
            if letter in lost:
                lost.remove(letter)
        # What calls and reasoning are marked with goes; nothing else does.
        marks = [letter for name in names for letter in name] * (len(parsed.calls) * 4 + 2)
        for letter in lost:
            assert letter in marks, (text, parsed)
            marks.remove(letter)


@given(st.text(max_size=60))
def test_any_content_without_marks_stays_as_it_is(text: str) -> None:
    tools = request(tools=TOOLS).tools or []
    for style in CallStyle:
        parsed = parse_message(text, Dialect(True, style), thinking=False, tools=tools, most_calls=9)
        if "<" not in text:
            assert (parsed.content, parsed.reasoning, parsed.calls) == (text, None, ())


@pytest.mark.parametrize(
    ("style", "text", "names", "content"),
    [
        (CallStyle.JSON, '<tool_call>{"name": "clock", "arguments": {}}', ["clock"], ""),  # cut before its mark
        (CallStyle.JSON, '<tool_call>{"name": "clock", "arguments": {"a": "</tool_call>"}}</tool_call>', ["clock"], ""),
        (CallStyle.JSON, '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>', [], None),
        (CallStyle.JSON, '<tool_call>{"name": "clock", "arguments": [1]}</tool_call>', [], None),
        (CallStyle.JSON, '<tool_call>{"name": "clock"}</tool_call><tool_call>{"nam', ["clock"], '<tool_call>{"nam'),
        (CallStyle.JSON, 'a <tool_call>b {"name": "clock"}</tool_call>', [], None),
        (CallStyle.MARKED, "<tool_call>clock</tool_call>", ["clock"], ""),
        (CallStyle.MARKED, "<tool_call>clock<arg_key>a</arg_key></tool_call>", [], None),
        (CallStyle.MARKED, "<tool_call>clock<arg_key>a</arg_key><arg_value>{</arg_value></tool_call>", ["clock"], ""),
    ],
)  # fmt: skip
def test_mangled_calls(style: CallStyle, text: str, names: list[str], content: str | None) -> None:
    """A call that can be read is a call; one that cannot is content, to the letter."""
    tools = request(tools=TOOLS).tools or []
    parsed = parse_message(text, Dialect(True, style), thinking=False, tools=tools, most_calls=9)
    assert [call.name for call in parsed.calls] == names
    assert parsed.content == (text if content is None else content)
