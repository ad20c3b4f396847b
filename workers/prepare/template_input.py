"""What a chat template is given: messages, tools and variables, with no string in them that makes a control token."""

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from pelton.pipeline.errors import InvalidValue
from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.pipeline.wire.tools import ToolCall

Clean = Callable[[str], str]

_THINKING = "enable_thinking"
_NO_EFFORT = ("none", "minimal")


def template_turns(messages: Sequence[Message], clean: Clean) -> list[dict[str, Any]]:
    return [_turn(message, clean) for message in messages]


def template_tools(request: ChatRequest, clean: Clean) -> list[dict[str, Any]] | None:
    """The tools a model is shown; none where it is to call none."""
    if not request.offered_tools:
        return None
    tools: list[dict[str, Any]] = _cleaned([tool.model_dump(exclude_none=True) for tool in request.tools or ()], clean)
    return tools


def template_variables(request: ChatRequest, template: str, reserved: frozenset[str], clean: Clean) -> dict[str, Any]:
    """What the request sets of a template's own variables. Raises `InvalidValue` for one it does not read."""
    variables: dict[str, Any] = {}
    if request.reasoning_effort is not None:
        wanted = {_THINKING: request.reasoning_effort not in _NO_EFFORT, "reasoning_effort": request.reasoning_effort}
        variables |= {name: value for name, value in wanted.items() if name in template}
    for name, value in (request.chat_template_kwargs or {}).items():
        if name in template and name not in reserved:
            variables[name] = _cleaned(value, clean)
        elif not (name == _THINKING and value is False):  # a model that cannot think does as it is asked
            param = f"chat_template_kwargs.{name}"
            raise InvalidValue(f"Invalid {param!r}: the model's chat template reads no such variable.", param=param)
    return variables


def reserved_names(apply_chat_template: Callable[..., Any]) -> frozenset[str]:
    """Parameters that are not for a sender to set."""
    return frozenset(inspect.signature(apply_chat_template).parameters) | {"messages", "bos_token", "eos_token"}


def _turn(message: Message, clean: Clean) -> dict[str, Any]:
    """Chat templates know OpenAI's newer `developer` role by its old name."""
    turn: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": clean(message.text),
    }
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (value := getattr(message, name)) is not None:
            turn[name] = clean(value)
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, clean) for call in message.tool_calls]
    return turn


def _call(call: ToolCall, clean: Clean) -> dict[str, Any]:
    """Templates write arguments as JSON themselves, so they get what the sender's text stands for."""
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = call.function.arguments
    function = {"name": clean(call.function.name), "arguments": _cleaned(arguments, clean)}
    return {"id": clean(call.id), "type": "function", "function": function}


def _cleaned(value: Any, clean: Clean) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(name): _cleaned(each, clean) for name, each in value.items()}
        case list():
            return [_cleaned(each, clean) for each in value]
        case _:
            return value
