"""A setting's type in words, from its JSON Schema."""

import json
from typing import Any

_FORMATS = {
    "password": "secret text",
    "path": "path",
    "file-path": "path of a file that exists",
    "directory-path": "path of a folder that exists",
}
_NAMES = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}
_BOUNDS = {
    "exclusiveMinimum": "above {:,}",
    "minimum": "at least {:,}",
    "maximum": "at most {:,}",
    "minLength": "at least {} characters",
    "minItems": "at least {} entries",
}


def describe_type(schema: dict[str, Any]) -> str:
    """Say what may be written. Raises `KeyError` for a type that no setting has had so far: add its words here."""
    if "anyOf" in schema:
        return " or ".join(describe_type(choice) for choice in schema["anyOf"] if choice.get("type") != "null")
    if "$ref" in schema:
        return "tables"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{json.dumps(choice)}`" for choice in schema["enum"])
    bounds = [text.format(schema[bound]) for bound, text in _BOUNDS.items() if bound in schema]
    if schema["type"] == "array":  # pydantic counts a validated list's entries under the name for characters
        bounds = [bound.replace("characters", "entries") for bound in bounds]
    return ", ".join([_unbounded(schema), *bounds])


def _unbounded(schema: dict[str, Any]) -> str:
    match schema["type"]:
        case "array":
            return f"list of {describe_type(schema['items'])}"
        case "object":
            return f"table of {describe_type(schema['additionalProperties'])}"
        case kind:
            return _FORMATS.get(schema.get("format", ""), _NAMES[kind])
