"""A grammar of calls: of any of the tools (`tool_choice` is `required`), or of a named one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pelton.pipeline.wire.tools import Function
from pelton.workers.prepare.dialects import CALL, END_CALL, END_KEY, END_VALUE, KEY, VALUE, CallStyle

# Arguments are held as exactly as grammars can; what they cannot is left to who runs the function.
_JSON_OPTIONS = {"lenient": True, "coerce_one_of": True, "item_separator": ", ", "key_separator": ": "}
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


Marks = Mapping[str, int]


def call_grammar(functions: Sequence[Function], style: CallStyle, marks: Marks, *, several: bool) -> str:
    """Lark for one call of any of the functions, or for one and more.

    `marks` are those that are a token of their own: text never stands for such a token in a grammar.
    """
    body = _json_calls(functions, marks) if style is CallStyle.JSON else _marked_calls(functions, marks)
    calls = "call (NEWLINE call)*" if several else "call"
    return f"start: {calls}\nNEWLINE: /\\n?/\n{body}"


def _json_calls(functions: Sequence[Function], marks: Marks) -> str:
    schemas = [
        {
            "type": "object",
            "properties": {"name": {"const": each.name}, "arguments": each.parameters or _NO_ARGUMENTS},
            "required": ["name", "arguments"],
            "additionalProperties": False,
            "x-guidance": _JSON_OPTIONS,
            **_definitions(each),
        }
        for each in functions
    ]
    rules = [f"call{index}: %json {json.dumps(schema)}" for index, schema in enumerate(schemas)]
    inside = " | ".join(f"call{index}" for index in range(len(rules)))
    return "\n".join([f"call: {_mark(CALL, marks)} NEWLINE ({inside}) NEWLINE {_mark(END_CALL, marks)}", *rules])


def _definitions(function: Function) -> dict[str, Any]:
    """References in a schema go by its root: what they point at has to be there."""
    parameters = function.parameters or {}
    return {name: parameters[name] for name in ("$defs", "definitions") if name in parameters}


def _marked_calls(functions: Sequence[Function], marks: Marks) -> str:
    called = " | ".join(f"call{index}" for index in range(len(functions)))
    rules = [f"call: {_mark(CALL, marks)} ({called}) {_mark(END_CALL, marks)}", "PLAIN: /[^<]*/"]
    for index, function in enumerate(functions):
        parameters = function.parameters or _NO_ARGUMENTS
        properties = parameters.get("properties") or {}
        required = parameters.get("required") or []
        parts = []
        for number, (key, schema) in enumerate(properties.items()):
            value = f"value{index}_{number}"
            rules.append(f"{value}: {_marked_value(schema, parameters)}")
            named = f"{_mark(KEY, marks)} {_text(key)} {_mark(END_KEY, marks)}"
            pair = f"{named} NEWLINE {_mark(VALUE, marks)} {value} {_mark(END_VALUE, marks)} NEWLINE"
            parts.append(f"({pair})" if key in required else f"({pair})?")
        rules.append(f"call{index}: {_text(function.name)} NEWLINE {' '.join(parts)}")
    return "\n".join(rules)


def _marked_value(schema: Any, parameters: dict[str, Any]) -> str:
    """Strings stand as they are, all else as JSON."""
    if not isinstance(schema, dict):
        return f"%json {json.dumps({'x-guidance': _JSON_OPTIONS})}"
    values = schema.get("enum")
    if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
        return " | ".join(map(_text, values))
    if schema.get("type") == "string":
        return "PLAIN"
    definitions = {name: parameters[name] for name in ("$defs", "definitions") if name in parameters}
    return f"%json {json.dumps({**schema, **definitions, 'x-guidance': _JSON_OPTIONS})}"


def _mark(mark: str, marks: Marks) -> str:
    return f"<[{marks[mark]}]>" if mark in marks else _text(mark)


def _text(literal: str) -> str:
    return json.dumps(literal, ensure_ascii=False)
