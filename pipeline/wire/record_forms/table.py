"""The schemas that a worker knows, and the forms of records that they make."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from cachetools import FIFOCache

from pelton.pipeline.errors import SchemaMismatch, SchemaUnavailable, UnknownSchema
from pelton.pipeline.wire.record_forms.avro import AvroSchema
from pelton.pipeline.wire.record_forms.form import RecordForm
from pelton.pipeline.wire.record_forms.framing import MAX_SCHEMA_ID, framed, is_framed, unframed
from pelton.pipeline.wire.record_forms.json_objects import JSON_OBJECTS
from pelton.pipeline.wire.record_forms.json_schema import JsonSchema
from pelton.pipeline.wire.record_forms.protobuf import ProtobufSchema
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema, Schema, UnusableSchema

REFUSED_S = 30.0
"""How long it is believed that a registry has no schema of an id, none that can be used, or cannot give it."""
MAX_REFUSED = 4_096
_NEEDED = ("aiohttp", "fastavro", "google.protobuf", "grpc_tools")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Kept when it is no longer believed: records that were refused by it may still wait for others of their poll."""

    error: type[UnknownSchema | SchemaUnavailable]
    why: str
    at: float


_NEVER_ASKED_FOR = _Refusal(UnknownSchema, "the registry knows none of this id", -math.inf)


@dataclass(frozen=True, slots=True)
class OutputSubject:
    """Where the schema of what comes out is: a registry's subject, and `latest` or a number."""

    subject: str
    version: str


def missing_libraries() -> list[str]:
    """What of the extra pelton[schemas] cannot be found."""
    return [name for name in _NEEDED if not _is_there(name)]


def usable(registered: RegisteredSchema) -> Schema:
    """The schema, ready for use. Takes a while, so it is called on a thread. Raises `UnusableSchema`."""
    match registered.kind:
        case "AVRO":
            return AvroSchema.of(registered)
        case "PROTOBUF":
            return ProtobufSchema.of(registered)
        case "JSON":
            return JsonSchema.of(registered)
        case kind:
            raise UnusableSchema(f"its kind {kind!r} is none of AVRO, PROTOBUF and JSON")


class SchemaTable:
    """Filled on the event loop, read by threads. What is known of an id stays: schemas of a registry never change."""

    def __init__(self, names: Collection[str], output: OutputSubject | None = None) -> None:
        """`names` are the fields that a map adds; without an `output`, a record's own schema has them."""
        self.output = output
        self._names = names
        self._known: dict[int, Schema] = {}
        self._written: tuple[int, Schema] | None = None
        self._refused: FIFOCache[int, _Refusal] = FIFOCache(MAX_REFUSED)

    @property
    def lacks_output(self) -> bool:
        """Whether the schema of the output is still to be found."""
        return self.output is not None and self._written is None

    def wanted(self, value: bytes | None) -> int | None:
        """The id that must be looked up before a record can be read; None for one that can be, or never will."""
        if value is None or not is_framed(value):
            return None
        try:
            schema_id = unframed(value).schema_id
        except SchemaMismatch:
            return None
        if schema_id in self._known or schema_id > MAX_SCHEMA_ID:
            return None
        refused = self._refused.get(schema_id)
        return schema_id if refused is None or time.monotonic() >= refused.at + REFUSED_S else None

    def add(self, schema_id: int, schema: Schema) -> None:
        self._known[schema_id] = schema

    def refuse(self, schema_id: int, why: str) -> None:
        """Records of this id are at fault for a while."""
        self._refused[schema_id] = _Refusal(UnknownSchema, why, time.monotonic())

    def give_up(self, schema_id: int, why: str) -> None:
        """The registry cannot give the schema of this id, and its records wait no longer for a while."""
        self._refused[schema_id] = _Refusal(SchemaUnavailable, why, time.monotonic())

    def write_by(self, schema_id: int, schema: Schema) -> None:
        """Take the schema of the output. Raises `UnusableSchema` for one without the fields of the answer."""
        if lacking := schema.lacking(self._names):
            raise UnusableSchema(f"it has no field {lacking[0]!r} for the answer")
        self._known[schema_id] = schema
        self._written = schema_id, schema

    def form(self, value: bytes) -> RecordForm:
        """Raises `UnknownSchema`, `SchemaUnavailable` or `SchemaMismatch`."""
        schema_id = unframed(value).schema_id
        source = self._known.get(schema_id)
        if source is None:
            refused = self._refused.get(schema_id) or _NEVER_ASKED_FOR
            raise refused.error(f"The schema {schema_id} of the record cannot be used: {refused.why}.")
        written_id, target = self._written or (schema_id, source)
        if type(source) is not type(target):
            raise SchemaMismatch(
                f"The schemas {schema_id} of the record and {written_id} of the output are not of one kind: have "
                "output.subject of the map name one of the record's kind."
            )
        return FramedRecords(source, written_id, target)


@dataclass(frozen=True, slots=True)
class FramedRecords:
    """A `RecordForm` of two schemas of one kind: one reads, the other writes."""

    source: Schema
    written_id: int
    target: Schema

    def values(self, value: bytes) -> dict[str, Any]:
        return self.source.values(unframed(value).payload)

    def check(self, value: bytes, names: Collection[str]) -> None:
        if lacking := self.target.lacking(names):
            raise SchemaMismatch(
                f"The schema {self.written_id} has no field {lacking[0]!r} for the answer: have output.subject of the "
                "map name a subject whose schema has it.",
                param=lacking[0],
            )
        self.target.check(self.source, unframed(value).payload, names)

    def merged(self, value: bytes, added: Mapping[str, Any]) -> bytes:
        return framed(self.written_id, self.target.merged(self.source, unframed(value).payload, added))


def form_of(value: bytes, schemas: SchemaTable | None) -> RecordForm:
    """How a record is read and written. Raises `UnknownSchema`, `SchemaUnavailable` or `SchemaMismatch`."""
    if not is_framed(value):
        return JSON_OBJECTS
    if schemas is None:
        raise UnknownSchema(
            f"The record names the schema {unframed(value).schema_id} of a registry, and this worker has none: have "
            "the operator set schemas.url."
        )
    return schemas.form(value)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
