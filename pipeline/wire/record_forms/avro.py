"""Records by an Avro schema.

Avro writes a record as its fields, one after the other. So a record is read field by field, and what need not change
is copied byte by byte: the branch of a union, a time out of Python's range and the scale of a decimal stay as they are.
"""

import io
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from pelton.pipeline.errors import SchemaMismatch, UnfitAnswer
from pelton.pipeline.wire.record_forms.avro_types import AvroType, shape, standalone, without_logical_types
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema, UnusableSchema


@dataclass(frozen=True, slots=True)
class _Field:
    """`default` is what is written where there is no value; None: there must be one."""

    name: str
    kind: AvroType
    plain: AvroType
    shape: AvroType
    default: bytes | None


@dataclass(frozen=True, slots=True)
class _Value:
    read: Any
    written: bytes


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A `Schema`. Fields are those of the record; the types in them need nothing from outside."""

    name: str
    fields: tuple[_Field, ...]

    @classmethod
    def of(cls, registered: RegisteredSchema) -> "AvroSchema":
        """Raises `UnusableSchema`."""
        from fastavro.schema import parse_schema  # noqa: PLC0415  # of the extra pelton[schemas]

        named: dict[str, AvroType] = {}
        try:
            for reference in registered.references:
                parse_schema(orjson.loads(reference.text), named_schemas=named)
            record = _record(parse_schema(_json(registered.text), named_schemas=named))
            fields = tuple(_field(field, named, str(record["name"])) for field in record["fields"])
        except UnusableSchema:
            raise
        except Exception as error:
            raise UnusableSchema(f"it is no Avro schema: {error!r}") from error
        return cls(str(record["name"]), fields)

    def values(self, payload: bytes) -> dict[str, Any]:
        return {name: _of_json(value.read) for name, value in self._read(payload).items()}

    def lacking(self, names: Collection[str]) -> list[str]:
        own = {field.name for field in self.fields}
        return [name for name in names if name not in own]

    def check(self, source: "AvroSchema", payload: bytes, names: Collection[str]) -> None:
        read = source._read(payload)  # noqa: SLF001  # another of the same kind
        for field in self.fields:
            if field.name not in names:
                _carried(field, read, source)

    def merged(self, source: "AvroSchema", payload: bytes, added: Mapping[str, Any]) -> bytes:
        if strange := self.lacking(added):
            raise UnfitAnswer(f"The answer has fields that {self.name} does not have: {', '.join(map(repr, strange))}.")
        read = source._read(payload)  # noqa: SLF001  # likewise
        return b"".join(
            _answer(field, added[field.name]) if field.name in added else _carried(field, read, source)
            for field in self.fields
        )

    def _read(self, payload: bytes) -> dict[str, _Value]:
        """Each field's value with the bytes that say it. Raises `SchemaMismatch`."""
        stream = io.BytesIO(payload)
        values = {}
        for field in self.fields:
            start = stream.tell()
            read = _value(stream, field)
            values[field.name] = _Value(read, payload[start : stream.tell()])
        if left := len(payload) - stream.tell():
            raise SchemaMismatch(f"The record has {left} bytes more than its schema {self.name} says.")
        return values


def _field(field: Mapping[str, Any], named: Mapping[str, AvroType], owner: str) -> _Field:
    from fastavro.schema import parse_schema  # noqa: PLC0415  # as above

    def ready(kind: AvroType) -> AvroType:
        return parse_schema(kind, named_schemas={})

    # The record is around its fields: one that holds it again is refused, as any other that is within itself.
    whole = standalone({"type": "record", "name": owner, "fields": [field]}, named)["fields"][0]["type"]
    default = None
    if "default" in field:
        alone = {"type": "record", "name": "of_default", "fields": [{**field, "type": whole}]}
        default = _encoded(ready(alone), {})
    return _Field(field["name"], ready(whole), ready(without_logical_types(whole)), shape(whole), default)


def _value(stream: io.BytesIO, field: _Field) -> Any:
    from fastavro import schemaless_reader  # noqa: PLC0415  # as above

    start = stream.tell()
    try:
        return schemaless_reader(stream, field.kind, None)
    except Exception:  # noqa: BLE001  # a time that Python has none for is read as the number that it is
        stream.seek(start)
    try:
        return schemaless_reader(stream, field.plain, None)
    except Exception as error:  # noqa: BLE001  # fastavro raises what it meets: EOFError, IndexError, ...
        raise SchemaMismatch(
            f"The record's bytes are not what its schema says, at the field {field.name!r}: {error!r}.",
            param=field.name,
        ) from None


def _carried(field: _Field, read: Mapping[str, _Value], source: AvroSchema) -> bytes:
    """The bytes of a field that the answer does not touch. Raises `SchemaMismatch`."""
    value = read.get(field.name)
    if value is None:
        if field.default is None:
            raise SchemaMismatch(
                f"The output's schema wants the field {field.name!r}, which {source.name} does not have: give it a "
                "default in the output's schema.",
                param=field.name,
            )
        return field.default
    if any(own.name == field.name and own.shape == field.shape for own in source.fields):
        return value.written
    try:
        return _encoded(field.kind, value.read)
    except Exception as error:  # noqa: BLE001  # fastavro raises what it meets
        raise SchemaMismatch(
            f"The field {field.name!r} of the record cannot be written by the output's schema: {error!r}.",
            param=field.name,
        ) from None


def _answer(field: _Field, value: Any) -> bytes:
    from fastavro.validation import validate  # noqa: PLC0415  # as above

    try:
        validate(value, field.kind, raise_errors=True)
        return _encoded(field.kind, value)
    except Exception as error:  # noqa: BLE001  # likewise
        raise UnfitAnswer(
            f"The answer does not fit the field {field.name!r} of the output's schema: {error}. Ask for the field's "
            "form by request.response_format of the map, or change the schema.",
            param=field.name,
        ) from None


def _encoded(kind: AvroType, value: Any) -> bytes:
    from fastavro import schemaless_writer  # noqa: PLC0415  # as above

    stream = io.BytesIO()
    schemaless_writer(stream, kind, value)
    return stream.getvalue()


def _record(parsed: AvroType) -> AvroType:
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise UnusableSchema("it is not the schema of a record")
    return parsed


def _json(text: str) -> Any:
    """A schema may be the bare name of a type, without quotes."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _of_json(value: Any) -> Any:
    """As templates see it: times in ISO 8601, decimals as digits, bytes in base64."""
    match value:
        case dict():
            return {str(name): _of_json(inner) for name, inner in value.items()}
        case list():
            return [_of_json(inner) for inner in value]
        case bytes():
            return b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case Decimal() | UUID() | timedelta():
            return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return value
