"""Records that are JSON by a JSON Schema: the schema says what may come out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import Draft7Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7

from pelton.pipeline.errors import UnfitAnswer
from pelton.pipeline.wire.record_forms.json_objects import JSON_OBJECTS
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema, UnusableSchema


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A `Schema`. A schema without `$schema` is of draft 7, as registries have it."""

    validator: Validator

    @classmethod
    def of(cls, registered: RegisteredSchema) -> "JsonSchema":
        """Raises `UnusableSchema`. What a schema refers to is looked for among its references only."""
        try:
            registry: Registry[Any] = Registry()
            for reference in registered.references:
                contents = orjson.loads(reference.text)
                made = DRAFT7.create_resource(contents)
                registry = registry.with_resource(reference.name, made)
            schema = orjson.loads(registered.text)
            kind = validator_for(schema, default=Draft7Validator)
            kind.check_schema(schema)
        except (SchemaError, orjson.JSONDecodeError, TypeError) as error:
            raise UnusableSchema(f"it is no JSON Schema: {getattr(error, 'message', error)}") from None
        return cls(kind(schema, registry=registry))

    def values(self, payload: bytes) -> dict[str, Any]:
        return JSON_OBJECTS.values(payload)

    def lacking(self, names: Collection[str]) -> list[str]:  # noqa: ARG002  # seen when there is an answer
        """None that can be known before: a schema may allow any fields."""
        return []

    def check(self, source: "JsonSchema", payload: bytes, names: Collection[str]) -> None:
        """What the schema forbids shows when the answer is there."""

    def merged(self, source: "JsonSchema", payload: bytes, added: Mapping[str, Any]) -> bytes:  # noqa: ARG002  # JSON is JSON
        made = JSON_OBJECTS.merged(payload, added)
        try:
            fault = best_match(self.validator.iter_errors(orjson.loads(made)))
        except (Unresolvable, RecursionError) as error:
            raise UnfitAnswer(f"The output's schema cannot be used on the record: {error!r}.") from None
        if fault is not None:
            raise UnfitAnswer(f"The record with its answer is not what the output's schema says: {_told(fault)}.")
        return made


def _told(fault: ValidationError) -> str:
    place = ".".join(map(str, fault.absolute_path))
    return f"{place}: {fault.message}" if place else fault.message
