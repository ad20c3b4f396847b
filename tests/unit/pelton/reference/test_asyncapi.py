"""The AsyncAPI document: valid by AsyncAPI's schema, and true to what is on the wire."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml

from pelton.pipeline.errors import InvalidHeader
from pelton.pipeline.wire import header_values
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.reference import asyncapi

SCHEMA = Path(__file__).parents[3] / "schemas" / "asyncapi-3.0.0.json"
DOCUMENT: dict[str, Any] = yaml.safe_load(asyncapi.document())


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def told(message: str) -> set[str]:
    return set(DOCUMENT["components"]["messages"][message]["headers"]["properties"])


def test_it_is_valid() -> None:
    """By the schema that AsyncAPI publishes."""
    errors = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(DOCUMENT)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_each_reference_leads_somewhere() -> None:
    """Generators follow them."""
    for reference in references(DOCUMENT):
        part: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert isinstance(part, dict)


def test_every_header_that_is_read_is_told() -> None:
    """Of requests those of our own prefix, of dead letters those that are written."""
    assert told("request") >= header_values._REQUEST_HEADERS
    record = RequestRecord(Source("requests", 0, 1), None, b"{", (), 0, 0)
    assert {name for name, _ in dead_letter(record, InvalidHeader("no"), "group").headers} <= told("deadLetter")


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"model": "default", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}, True),
        ({"model": "default", "messages": [], "temperature": 0}, False),
        ({"model": "default", "messages": [{"role": "user", "content": "hello"}], "temperature": 3}, False),
    ],
    ids=["right", "no messages", "too hot"],
)
def test_a_payload_is_checked_by_it(body: dict[str, Any], is_valid: bool) -> None:
    """As a client that was generated from it would."""
    schema = {"$ref": "#/components/schemas/ChatRequest", "components": DOCUMENT["components"]}
    assert jsonschema.Draft202012Validator(schema).is_valid(orjson.loads(orjson.dumps(body))) is is_valid
