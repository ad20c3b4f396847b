"""Which grammar a request's answer is held to."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.formats import JsonObjectFormat, JsonSchemaFormat, StructuredOutputs
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.prepare.call_grammar import call_grammar
from pelton.workers.prepare.dialects import Dialect

NO_MARKS: Mapping[str, int] = MappingProxyType({})
_ANY_OBJECT = {"type": "object"}


def grammar_spec(
    request: ChatRequest, dialect: Dialect, marks: Mapping[str, int] = NO_MARKS, after: str = ""
) -> tuple[GrammarSpec, str] | None:
    """The grammar of a request, and the parameter that asks for it; None where the answer is free.

    It begins to hold behind the text `after`; `marks` are those of the dialect that are tokens of their own.
    """
    if request.demanded_tools and dialect.calls is not None:
        functions = [tool.function for tool in request.demanded_tools]
        calls = call_grammar(functions, dialect.calls, marks, several=request.parallel_tool_calls is not False)
        return GrammarSpec(GrammarKind.LARK, calls, after), "tools"
    if request.structured_outputs is not None:
        kind, text = _structured(request.structured_outputs)
        return GrammarSpec(kind, text, after), "structured_outputs"
    match request.response_format:
        case JsonObjectFormat():
            return _schema(_ANY_OBJECT, after)
        case JsonSchemaFormat(json_schema=named):
            return _schema(_ANY_OBJECT if named.schema_ is None else named.schema_, after)
        case _:
            return None


def _structured(asked: StructuredOutputs) -> tuple[GrammarKind, str]:
    if asked.choice is not None:
        return GrammarKind.CHOICE, _json(asked.choice)
    if asked.regex is not None:
        return GrammarKind.REGEX, asked.regex
    if asked.grammar is not None:
        return GrammarKind.LARK, asked.grammar
    if isinstance(asked.json_, str):
        return GrammarKind.JSON_SCHEMA, asked.json_
    return GrammarKind.JSON_SCHEMA, _json(asked.json_ or _ANY_OBJECT)


def _schema(schema: dict[str, Any], after: str) -> tuple[GrammarSpec, str]:
    return GrammarSpec(GrammarKind.JSON_SCHEMA, _json(schema), after), "response_format"


def _json(value: Any) -> str:
    """The order of keys is kept: answers have their fields in the order of the schema's."""
    return orjson.dumps(value).decode()
