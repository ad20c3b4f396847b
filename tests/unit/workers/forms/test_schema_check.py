"""A finished answer compared with its schema: what is wrong with it, found in bounded time."""

import json
import time
from typing import Any

import pytest

from pelton.workers.forms.schema_check import schema_fault


@pytest.mark.parametrize(
    ("schema", "text", "words"),
    [
        ({"type": "array", "uniqueItems": True}, "[1, 2]", None),
        ({"type": "array", "uniqueItems": True}, "[1, 1]", "non-unique"),
        ({"not": {"type": "string"}}, '"a"', "should not be valid"),
        ({"properties": {"a": {"pattern": "^x"}}}, '{"a": "y"}', "$.a"),
        ({"patternProperties": {"^q": {"type": "integer"}}}, '{"q1": "a"}', "$.q1"),
        ({"$ref": "https://example.com/other"}, "1", "cannot be applied"),
        ({"type": "object"}, '{"a": ', "not JSON"),
    ],
)
def test_what_is_wrong_is_said(schema: Any, text: str, words: str | None) -> None:
    fault = schema_fault(json.dumps(schema), text)
    assert (fault is None) if words is None else (words in (fault or ""))


LEVELS = {f"l{level + 1}": {"anyOf": [{"$ref": f"#/$defs/l{level}"}] * 2} for level in range(40)}
DOUBLING = {"$defs": {"l0": {"type": "null"}, **LEVELS}, "$ref": "#/$defs/l40"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 40 + "!")),
        (DOUBLING, "1"),
        ({"$ref": "#"}, "1"),
        ({"type": "array"}, "[" * 50_000),
    ],
    ids=["backtracking", "doubling", "endless", "deep"],
)  # fmt: skip
def test_nothing_takes_long(schema: Any, text: str) -> None:
    """Patterns that backtrack, branches that double, references that never end: given up, and said so."""
    started = time.process_time()
    assert schema_fault(json.dumps(schema), text, max_s=0.1) is not None
    assert time.process_time() - started < 3
