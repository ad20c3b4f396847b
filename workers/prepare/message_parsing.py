"""A model's answer taken apart: reasoning, content, calls of functions. No text is lost: what is no call stays content.

The parsers of transformers raise on what a model mangles, and some drop the text around it; so this is done here.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pelton.pipeline.wire.tools import CalledFunction, Tool
from pelton.workers.prepare.dialects import (
    CALL,
    END_CALL,
    END_KEY,
    END_THINK,
    END_VALUE,
    KEY,
    THINK,
    VALUE,
    CallStyle,
    Dialect,
)

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"\s*([A-Za-z0-9_.-]{1,64})\s*")
_PAIR = re.compile(
    rf"\s*{KEY}\s*(?P<key>[^<]*?)\s*{END_KEY}\s*{VALUE}(?P<value>.*?){END_VALUE}\s*", re.DOTALL
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """`reasoning` is None where there is none; `closed` says whether it was ended."""

    content: str
    reasoning: str | None = None
    calls: tuple[CalledFunction, ...] = ()
    closed: bool = True


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A message, and how many of its tokens were reasoning."""

    message: ParsedMessage
    reasoning_tokens: int = 0


def parse_message(
    text: str, dialect: Dialect, *, thinking: bool, tools: Collection[Tool], most_calls: int
) -> ParsedMessage:
    """`thinking` says that the answer begins inside its reasoning; calls are looked for where there are `tools`."""
    reasoning, content, closed = _reasoning(text, thinking=thinking) if dialect.thinks else (None, text, True)
    if not tools or dialect.calls is None:
        return ParsedMessage(content, reasoning, closed=closed)
    content, calls = _calls(content, dialect.calls, tools, most_calls)
    return ParsedMessage(content, reasoning, calls, closed)


def _reasoning(text: str, *, thinking: bool) -> tuple[str | None, str, bool]:
    """Reasoning, what follows, and whether the reasoning was ended. Some models end what they have not begun."""
    opened = text.lstrip().startswith(THINK)
    inside = text.lstrip().removeprefix(THINK) if opened else text
    before, ended, after = inside.partition(END_THINK)
    if ended and not (THINK in before and not opened and not thinking):
        return before.strip(), after.lstrip(), True
    if opened or thinking:
        return inside.strip(), "", False
    return None, text, True


def _calls(text: str, style: CallStyle, tools: Collection[Tool], most: int) -> tuple[str, tuple[CalledFunction, ...]]:
    schemas = {tool.function.name: tool.function.parameters or {} for tool in tools}
    read = _json_call if style is CallStyle.JSON else _marked_call
    calls: list[CalledFunction] = []
    around: list[str] = []
    kept = position = 0
    while len(calls) < most and (at := text.find(CALL, position)) >= 0:
        position = at + len(CALL)
        found = read(text, position, schemas)
        if found is not None:
            around.append(text[kept:at])
            call, kept = found
            position = kept
            calls.append(call)
    around.append(text[kept:])
    pieces = [piece.strip("\n") for piece in around] if calls else around
    return "\n".join(piece for piece in pieces if piece.strip()) if calls else text, tuple(calls)


def _json_call(text: str, start: int, schemas: dict[str, Any]) -> tuple[CalledFunction, int] | None:
    try:
        call, end = _DECODER.raw_decode(text, _after_space(text, start))
        arguments = call["arguments"] if "arguments" in call else call.get("parameters", {})
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        name = call["name"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    extra = call.keys() - {"name", "arguments", "parameters", "id", "type"}
    if not isinstance(name, str) or name not in schemas or not isinstance(arguments, dict) or extra:
        return None
    return _called(name, arguments, text, end)


def _marked_call(text: str, start: int, schemas: dict[str, Any]) -> tuple[CalledFunction, int] | None:
    name = _NAME.match(text, start)
    if name is None or name[1] not in schemas:
        return None
    properties = schemas[name[1]].get("properties")
    properties = properties if isinstance(properties, dict) else {}
    arguments: dict[str, Any] = {}
    end = name.end()
    while (pair := _PAIR.match(text, end)) is not None:
        arguments[pair["key"]] = _typed(pair["value"], properties.get(pair["key"]))
        end = pair.end()
    return _called(name[1], arguments, text, end)


def _called(name: str, arguments: dict[str, Any], text: str, end: int) -> tuple[CalledFunction, int] | None:
    """The call, if it ends here: with its mark, or with the text, as some models leave the mark out."""
    end = _after_space(text, end)
    if text.startswith(END_CALL, end):
        end += len(END_CALL)
    elif end < len(text):
        return None
    return CalledFunction(name=name, arguments=json.dumps(arguments, ensure_ascii=False)), end


def _typed(value: str, schema: Any) -> Any:
    """A marked argument as its schema wants it: text for strings, else what it is as JSON, if it is any."""
    if isinstance(schema, dict) and schema.get("type") == "string":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string: a token may carry it and more."""
    ends = [at for string in stop if (at := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text
