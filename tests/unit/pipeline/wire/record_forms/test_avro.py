"""Records by Avro schemas: what the answer does not touch stays, byte by byte; hostile bytes are their own trouble."""

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import SchemaMismatch, UnfitAnswer
from pelton.pipeline.wire.record_forms.avro import AvroSchema
from pelton.pipeline.wire.record_forms.schema import Reference, RegisteredSchema, UnusableSchema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PRIMITIVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("double", st.floats(allow_nan=False)),
    ("float", st.floats(allow_nan=False, width=32)),
    ("string", TEXT),
    ("bytes", st.binary(max_size=8)),
    ({"type": "long", "logicalType": "timestamp-micros"}, st.datetimes(timezones=st.just(dt.UTC))),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        st.decimals(-1000, 1000, places=2, allow_nan=False),
    ),
]
NOTED = {"type": "record", "name": "Noted", "fields": [{"name": "by", "type": "string"}]}


def schema(*fields: dict[str, Any], references: tuple[Reference, ...] = ()) -> AvroSchema:
    text = orjson.dumps({"type": "record", "name": "x.R", "fields": fields}).decode()
    return AvroSchema.of(RegisteredSchema(1, "AVRO", text, references))


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def encoded(fields: list[dict[str, Any]], values: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema({"type": "record", "name": "x.R", "fields": fields}), values)
    return stream.getvalue()


def decoded(fields: list[dict[str, Any]], data: bytes) -> dict[str, Any]:
    read: Any = schemaless_reader(
        io.BytesIO(data), parse_schema({"type": "record", "name": "x.R", "fields": fields}), None
    )
    return read


@st.composite
def records(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Fields of all kinds, with values that fastavro writes."""
    fields, values = [], {}
    for number in range(draw(st.integers(0, 5))):
        kind, of_kind = draw(st.sampled_from(PRIMITIVES))
        match draw(st.sampled_from(["plain", "array", "map", "union"])):
            case "array" if kind != "null":
                kind, of_kind = {"type": "array", "items": kind}, st.lists(of_kind, max_size=3)
            case "map":
                kind, of_kind = {"type": "map", "values": kind}, st.dictionaries(TEXT, of_kind, max_size=3)
            case "union" if kind != "null":
                kind, of_kind = ["null", kind], st.none() | of_kind
        fields.append(field(f"f{number}", kind))
        values[f"f{number}"] = draw(of_kind)
    return fields, values


@given(records(), TEXT, TEXT)
def test_a_record_comes_back_with_its_answer(record, before, answer):
    """All else is the same bytes; an answer of an earlier run is replaced."""
    fields, values = record
    wider = [*fields[:2], field("answer", "string"), *fields[2:]]
    made = schema(*wider)
    data = encoded(wider, {**values, "answer": before})
    replaced = made.merged(made, data, {"answer": answer})
    assert replaced == encoded(wider, {**values, "answer": answer})
    assert made.merged(made, replaced, {"answer": before}) == data
    assert set(made.values(data)) == {*values, "answer"}
    orjson.dumps(made.values(data))


@given(records(), TEXT)
def test_an_output_schema_adds_the_answer(record, answer):
    """Fields may stand in another order, be gone, or be new with a default."""
    fields, values = record
    target = [
        field("note", ["null", "string"], default=None),
        *reversed(fields[1:]),
        field("answer", ["null", "string"]),
    ]
    made = schema(*target).merged(schema(*fields), encoded(fields, values), {"answer": answer})
    kept = {one["name"]: values[one["name"]] for one in fields[1:]}
    assert made == encoded(target, {**kept, "note": None, "answer": answer})


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_mismatch(data):
    every = [field(f"f{at}", kind) for at, (kind, _) in enumerate(PRIMITIVES)]
    lists = [field("l", {"type": "array", "items": NOTED}), field("m", {"type": "map", "values": "long"})]
    for made in (
        schema(*every),
        schema(*lists),
        schema(field("u", ["null", "string", {"type": "enum", "name": "E", "symbols": ["A"]}])),
    ):
        try:
            orjson.dumps(made.values(data))
        except SchemaMismatch:
            continue
        assert made.merged(made, data, {}) == data


def test_templates_see_json():
    """Times in ISO 8601, decimals as digits, bytes in base64."""
    fields = [
        field("at", {"type": "long", "logicalType": "timestamp-millis"}),
        field("price", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
        field("raw", "bytes"),
        field("day", {"type": "int", "logicalType": "date"}),
        field("by", NOTED),
    ]
    at = dt.datetime(2026, 1, 31, 14, tzinfo=dt.UTC)
    data = encoded(fields, {"at": at, "price": Decimal("12.50"), "raw": b"\xff", "day": at.date(), "by": {"by": "me"}})
    assert schema(*fields).values(data) == {
        "at": "2026-01-31T14:00:00+00:00", "price": "12.50", "raw": "/w==", "day": "2026-01-31", "by": {"by": "me"},
    }  # fmt: skip


def test_a_time_that_python_has_none_for_is_a_number_and_stays():
    """The year 300,000 is in the record afterwards too."""
    fields = [field("at", {"type": "long", "logicalType": "timestamp-millis"}), field("answer", "string")]
    data = encoded([field("at", "long"), field("answer", "string")], {"at": 2**60, "answer": ""})
    made = schema(*fields)
    assert made.values(data)["at"] == 2**60
    assert made.merged(made, data, {"answer": "x"})[:-2] == data[:-1]


def test_a_field_of_another_type_is_written_anew():
    """A time in milliseconds becomes the same time in microseconds, not another one."""
    before = [field("at", {"type": "long", "logicalType": "timestamp-millis"}), field("n", "int")]
    after = [
        field("at", {"type": "long", "logicalType": "timestamp-micros"}),
        field("n", ["null", "long"]),
        field("a", "string"),
    ]
    at = dt.datetime(2026, 1, 31, 14, tzinfo=dt.UTC)
    made = schema(*after).merged(schema(*before), encoded(before, {"at": at, "n": 3}), {"a": "x"})
    assert decoded(after, made) == {"at": at, "n": 3, "a": "x"}


def test_types_may_be_referred_to():
    """From other subjects, from an earlier field, and by a name without its namespace."""
    fields = [field("a", "Noted"), field("b", {"type": "array", "items": "x.Noted"}), field("answer", "string")]
    noted = Reference("x.Noted", orjson.dumps({**NOTED, "namespace": "x"}).decode())
    made = schema(*fields, references=(noted,))
    plain = [field("a", {**NOTED, "name": "x.Noted"}), *fields[1:]]
    data = encoded(plain, {"a": {"by": "1"}, "b": [{"by": "2"}], "answer": ""})
    assert made.values(data)["b"] == [{"by": "2"}]
    assert decoded(plain, made.merged(made, data, {"answer": "x"}))["answer"] == "x"


def test_an_answer_of_a_form_is_written_by_its_type():
    kind = {"type": "record", "name": "Rating", "fields": [field("stars", "int"), field("why", ["null", "string"])]}
    made = schema(field("rating", kind))
    data = encoded([field("rating", kind)], {"rating": {"stars": 0, "why": None}})
    rating = {"stars": 4, "why": "fine"}
    assert made.values(made.merged(made, data, {"rating": rating})) == {"rating": rating}
    with pytest.raises(UnfitAnswer, match="rating"):
        made.merged(made, data, {"rating": {"stars": "four"}})
    with pytest.raises(UnfitAnswer, match="'mood'"):
        made.merged(made, data, {"mood": "fine"})


def test_what_a_record_could_make_endless_is_refused():
    """A few bytes of such schemas would take a worker's memory or its stack."""
    linked = field("next", ["null", "x.R"])
    with pytest.raises(UnusableSchema, match="within itself"):
        schema(linked)
    tree = {"type": "record", "name": "Tree", "fields": [field("inner", {"type": "array", "items": "Tree"})]}
    with pytest.raises(UnusableSchema, match="within itself"):
        schema(field("tree", tree))
    empty = {"type": "record", "name": "Empty", "fields": []}
    for items in ("null", empty, {"type": "fixed", "name": "F", "size": 0}):
        with pytest.raises(UnusableSchema, match="no bytes"):
            schema(field("many", {"type": "array", "items": items}))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '"string"',
        '["null","int"]',
        '{"type":"record","name":"R","fields":3}',
        '{"type":"record","name":"R","fields":[{"name":"a","type":"Nope"}]}',
    ],
    ids=["cut", "string", "union", "fields", "name"],
)
def test_what_is_no_schema_of_records_says_so(text):
    with pytest.raises(UnusableSchema):
        AvroSchema.of(RegisteredSchema(1, "AVRO", text))


def test_an_output_that_wants_more_is_a_mismatch_before_anything_is_generated():
    source, target = schema(field("a", "string")), schema(field("b", "int"), field("answer", "string"))
    data = encoded([field("a", "string")], {"a": "x"})
    with pytest.raises(SchemaMismatch, match="'b'"):
        target.check(source, data, ["answer"])
    wider = schema(field("a", "int"), field("answer", "string"))
    with pytest.raises(SchemaMismatch, match="'a'"):
        wider.check(source, data, ["answer"])
