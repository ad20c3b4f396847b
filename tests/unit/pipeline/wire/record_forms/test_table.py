"""The schemas of a worker: which are looked up, and what becomes of records whose schema is none."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from pelton.pipeline import map_file
from pelton.pipeline.errors import RequestError, SchemaMismatch, SchemaUnavailable, UnfitAnswer, UnknownSchema
from pelton.pipeline.map_file import load_map
from pelton.pipeline.settings.loading import SettingsError
from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_forms import table as table_module
from pelton.pipeline.wire.record_forms.avro import AvroSchema
from pelton.pipeline.wire.record_forms.framing import framed
from pelton.pipeline.wire.record_forms.json_schema import JsonSchema
from pelton.pipeline.wire.record_forms.schema import Reference, RegisteredSchema, UnusableSchema
from pelton.pipeline.wire.record_forms.table import OutputSubject, SchemaTable, form_of, usable
from pelton.pipeline.wire.record_map import RecordMap
from pelton.pipeline.wire.records import RequestRecord, Source

GUIDE = Path(__file__).parents[5] / "docs" / "guides" / "schemas.md"
TEXT_AND_ANSWER = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "text", "type": "string"}, {"name": "answer", "type": "string"}],
}
PLAIN = {**TEXT_AND_ANSWER, "fields": TEXT_AND_ANSWER["fields"][:1]}


def avro(schema: dict[str, Any]) -> AvroSchema:
    return AvroSchema.of(RegisteredSchema(1, "AVRO", orjson.dumps(schema).decode()))


def json_schema(schema: dict[str, Any], *references: Reference) -> JsonSchema:
    return JsonSchema.of(RegisteredSchema(1, "JSON", orjson.dumps(schema).decode(), references))


def record(value: bytes) -> RequestRecord:
    return RequestRecord(Source("t", 0, 1), None, value, (), 0, 0)


def mapping(table: SchemaTable | None) -> RecordMap:
    return RecordMap("{{ text }}", None, {}, "answer", "text", schemas=table)


def completion(text: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def test_a_mapped_record_is_read_and_answered_by_its_schema():
    table = SchemaTable(["answer"])
    table.add(7, avro(TEXT_AND_ANSWER))
    made = mapping(table)
    asked = record(framed(7, b"\x04hi\x00"))
    assert made.decode(asked, max_bytes=99).messages[0].text == "hi"
    assert made.reply(asked, completion("yes")) == framed(7, b"\x04hi\x06yes")


def test_the_example_of_the_guide_works(tmp_path):
    """The first map of the page, on a record of the schema of the page."""
    fences = re.findall(r"^```(json|toml)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    schema, text = fences[0][1], fences[1][1]
    (tmp_path / "map.toml").write_text(text)
    made = load_map(tmp_path / "map.toml", SchemaSettings(url="http://localhost"))
    assert made.schemas is not None
    made.schemas.add(7, avro(orjson.loads(schema)))
    asked = record(framed(7, b"\x04hi\x00\x00"))
    assert made.decode(asked, max_bytes=999).messages[0].text.endswith("hi (1970-01-01T00:00:00+00:00)")
    assert made.reply(asked, completion("yes")) == framed(7, b"\x04hi\x00\x02\x06yes")


@pytest.mark.parametrize(
    ("url", "missing", "fault"),
    [
        (None, [], "output.subject: needs the setting schemas.url"),
        ("http://r", ["fastavro"], "pip install 'pelton[schemas]'"),
    ],
    ids=["url", "extra"],
)
def test_what_a_map_of_schemas_needs_is_told_at_the_start(tmp_path, monkeypatch, url, missing, fault):
    monkeypatch.setattr(map_file, "missing_libraries", lambda: missing)
    (tmp_path / "map.toml").write_text('[prompt]\nuser="x"\n[output]\nfield="a"\nsubject="s"')
    with pytest.raises(SettingsError, match=re.escape(fault)):
        load_map(tmp_path / "map.toml", SchemaSettings(url=url))


def test_an_output_subject_writes_every_record():
    table = SchemaTable(["answer"], OutputSubject("out-value", "latest"))
    table.add(7, avro(PLAIN))
    lacked = table.lacks_output
    table.write_by(9, avro(TEXT_AND_ANSWER))
    assert (lacked, table.lacks_output) == (True, False)
    made, asked = mapping(table), record(framed(7, b"\x04hi"))
    made.decode(asked, max_bytes=99)
    assert made.reply(asked, completion("yes")) == framed(9, b"\x04hi\x06yes")
    with pytest.raises(UnusableSchema, match="answer"):
        table.write_by(9, avro(PLAIN))


def test_plain_json_is_read_beside_schemas():
    """A topic may hold both while its producers move."""
    made = mapping(SchemaTable(["answer"]))
    assert made.reply(record(b'{"text":"hi"}'), completion("yes")) == b'{"text":"hi","answer":"yes"}'


def test_a_schema_without_the_answer_is_told_before_anything_is_generated():
    table = SchemaTable(["answer"])
    table.add(7, avro(PLAIN))
    with pytest.raises(SchemaMismatch, match=r"output\.subject"):
        mapping(table).decode(record(framed(7, b"\x04hi")), max_bytes=99)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"\x00\x00", SchemaMismatch), (framed(3, b""), UnknownSchema), (framed(7, b"\x09"), SchemaMismatch)],
    ids=["frame", "id", "payload"],
)
@pytest.mark.parametrize("known", [True, False], ids=["registry", "none"])
def test_records_at_fault_have_their_own_error(value, kind, known):
    table = SchemaTable(["answer"])
    table.add(7, avro(TEXT_AND_ANSWER))
    with pytest.raises(kind if known else RequestError):
        mapping(table if known else None).decode(record(value), max_bytes=99)


def test_only_what_may_be_found_is_looked_up():
    """No registry is asked for an id that no registry has, or twice in short order for one that it did not know."""
    table = SchemaTable([])
    table.refuse(5, "not there")
    values = [None, b"{}", b"\x00\x00", framed(2**31, b""), framed(5, b""), framed(6, b"")]
    assert [table.wanted(value) for value in values] == [None, None, None, None, None, 6]
    with pytest.raises(UnknownSchema, match="not there"):
        form_of(framed(5, b""), table)


def test_a_schema_that_the_registry_cannot_give_is_not_the_senders_fault(monkeypatch):
    """Its records are dead letters to replay, also those that others of their poll hold up until it is asked again."""
    table = SchemaTable([])
    table.give_up(5, "the registry fails")
    assert table.wanted(framed(5, b"")) is None
    monkeypatch.setattr(table_module, "REFUSED_S", 0)
    assert table.wanted(framed(5, b"")) == 5
    with pytest.raises(SchemaUnavailable, match=r"schema 5 .*the registry fails") as caught:
        form_of(framed(5, b""), table)
    assert caught.value.dead_letter


def test_schemas_of_two_kinds_are_a_mismatch():
    table = SchemaTable([], OutputSubject("s", "1"))
    table.add(7, avro(PLAIN))
    table.write_by(8, json_schema({}))
    with pytest.raises(SchemaMismatch, match="one kind"):
        table.form(framed(7, b""))


def test_json_stays_as_it_was_and_is_held_to_its_schema():
    """Also by what the schema refers to."""
    short = Reference("short.json", '{"type": "string", "maxLength": 3}')
    schema = json_schema({"properties": {"answer": {"$ref": "short.json"}}}, short)
    assert schema.merged(schema, b'{"n": 1.0 }', {"answer": "yes"}) == b'{"n": 1.0,"answer":"yes"}'
    with pytest.raises(UnfitAnswer, match="answer: "):
        schema.merged(schema, b"{}", {"answer": "maybe"})


@pytest.mark.parametrize(
    ("kind", "text"), [("AVRO", "{"), ("JSON", '{"type": 3}'), ("XML", "<a/>")], ids=["avro", "json", "xml"]
)
def test_what_cannot_be_used_says_so(kind, text):
    with pytest.raises(UnusableSchema):
        usable(RegisteredSchema(1, kind, text))
