"""Types of an Avro schema, each made to stand by itself, so that a record's fields can be read one by one."""

from collections.abc import Mapping
from typing import Any

from pelton.pipeline.wire.record_forms.schema import UnusableSchema

AvroType = Any
"""A name, a list (a union) or an object, as in an Avro schema that fastavro has parsed: names are full."""
_SHAPING = ("type", "name", "items", "values", "symbols", "size", "logicalType", "precision", "scale")
"""What decides how a value is written and what it means."""
_NAMED = ("record", "error", "enum", "fixed")


def standalone(kind: AvroType, named: Mapping[str, AvroType]) -> AvroType:
    """The type with every definition that it refers to, at the first place where it does. Raises `UnusableSchema`.

    Two things are refused: the bytes of a record could have a reader of them nest or count without end.
    """
    return _expanded(kind, named, set(), ())


def shape(kind: AvroType) -> AvroType:
    """The part of a type that decides what bytes mean: types of equal shape can read each other's bytes."""
    if isinstance(kind, list):
        return [shape(branch) for branch in kind]
    if not isinstance(kind, dict):
        return kind
    kept = {name: kind[name] for name in _SHAPING if name in kind}
    for inner in ("items", "values"):
        if inner in kept:
            kept[inner] = shape(kept[inner])
    if "fields" in kind:
        kept["fields"] = [(field["name"], shape(field["type"])) for field in kind["fields"]]
    return kind["type"] if kept.keys() == {"type"} else kept


def without_logical_types(kind: AvroType) -> AvroType:
    """The type of the values that are in the bytes, such as a long for a time."""
    if isinstance(kind, list):
        return [without_logical_types(branch) for branch in kind]
    if not isinstance(kind, dict):
        return kind
    plain = {name: value for name, value in kind.items() if name != "logicalType"}
    for inner in ("items", "values"):
        if inner in plain:
            plain[inner] = without_logical_types(plain[inner])
    if "fields" in plain:
        plain["fields"] = [{**field, "type": without_logical_types(field["type"])} for field in plain["fields"]]
    return plain


def _expanded(kind: AvroType, named: Mapping[str, AvroType], defined: set[str], around: tuple[str, ...]) -> AvroType:
    if isinstance(kind, list):
        return [_expanded(branch, named, defined, around) for branch in kind]
    if isinstance(kind, str):
        return _referred(kind, named, defined, around)
    if kind["type"] in _NAMED:
        return _defined(kind, named, defined, around)
    inner = {name: _expanded(kind[name], named, defined, around) for name in ("items", "values") if name in kind}
    if "items" in inner and _least_bytes(inner["items"], named) == 0:
        raise UnusableSchema("it has an array whose items take no bytes, of which a few bytes could hold billions")
    return {**kind, **inner}


def _referred(name: str, named: Mapping[str, AvroType], defined: set[str], around: tuple[str, ...]) -> AvroType:
    if name not in named:
        return name
    if name in around:
        raise UnusableSchema(f"{name} is within itself, and nothing bounds how deep a record may nest it")
    return name if name in defined else _defined(named[name], named, defined, around)


def _defined(kind: AvroType, named: Mapping[str, AvroType], defined: set[str], around: tuple[str, ...]) -> AvroType:
    name = kind["name"]
    defined.add(name)
    if "fields" not in kind:
        return kind
    fields = [{**field, "type": _expanded(field["type"], named, defined, (*around, name))} for field in kind["fields"]]
    return {**kind, "fields": fields}


def _least_bytes(kind: AvroType, named: Mapping[str, AvroType]) -> int:
    """The fewest bytes that a value of the type takes, as far as it matters: 0 or more."""
    if isinstance(kind, str) and kind in named:
        return _least_bytes(named[kind], named)
    if isinstance(kind, list):
        return 1
    if isinstance(kind, str):
        return 0 if kind == "null" else 1
    if "fields" in kind:
        return sum(_least_bytes(field["type"], named) for field in kind["fields"])
    if kind["type"] == "fixed":
        return int(kind["size"])
    return 0 if kind["type"] == "null" else 1
