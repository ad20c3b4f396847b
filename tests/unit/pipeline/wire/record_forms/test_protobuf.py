"""Records by .proto files: as the compiler reads them, whatever numbers and messages they have."""

from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import SchemaMismatch, UnfitAnswer
from pelton.pipeline.wire.record_forms.framing import framed, joined_indexes, split_indexes, unframed
from pelton.pipeline.wire.record_forms.protobuf import ProtobufSchema
from pelton.pipeline.wire.record_forms.schema import Reference, RegisteredSchema, UnusableSchema

NEWS = """
syntax = "proto3";
package x;
import "google/protobuf/timestamp.proto";
import "people/author.proto";
message Unused {}
message News {
  message Line { string text = 1; }
  int64 id = 1;
  string headline = 2;
  repeated Line lines = 3;
  google.protobuf.Timestamp at = 4;
  optional people.Author by = 5;
  %s
}
"""
AUTHOR = Reference("people/author.proto", 'syntax = "proto3"; package people; message Author { string name = 1; }')
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = ProtobufSchema.of(RegisteredSchema(1, "PROTOBUF", NEWS % "", (AUTHOR,)))
ANSWERED = ProtobufSchema.of(RegisteredSchema(2, "PROTOBUF", NEWS % "string answer = 9;", (AUTHOR,)))
FIRST = b"\x02\x02"
"""The indexes of `News`: one, and it is 1."""


def news(schema: ProtobufSchema, **fields: Any) -> bytes:
    return FIRST + GetMessageClass(schema.messages[(1,)])(**fields).SerializeToString()


@given(st.integers(-(2**63), 2**63 - 1), TEXT, st.lists(TEXT, max_size=3), TEXT)
def test_a_record_comes_back_with_its_answer(number, headline, lines, answer):
    """Read by the schema that has the answer, whichever of the two wrote it; an earlier answer is replaced."""
    fields = {"id": number, "headline": headline, "lines": [{"text": line} for line in lines]}
    for source, before in ((PLAIN, {}), (ANSWERED, {"answer": "before"})):
        made = ANSWERED.merged(source, news(source, **fields, **before), {"answer": answer})
        assert made == news(ANSWERED, **fields, answer=answer)
    values = PLAIN.values(news(PLAIN, **fields))
    assert values == {**fields, "id": str(number)}


@given(st.binary(max_size=40))
def test_any_bytes_are_a_record_or_a_mismatch(data):
    try:
        ANSWERED.values(data)
        ANSWERED.check(ANSWERED, data, [])
    except SchemaMismatch:
        return
    ANSWERED.merged(ANSWERED, data, {})


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=5).map(tuple), st.binary(max_size=5))
def test_indexes_are_read_as_they_were_written(indexes, rest):
    assert split_indexes(joined_indexes(indexes) + rest) == (indexes, rest)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=9))
def test_frames_are_read_as_they_were_written(number, payload):
    read = unframed(framed(number, payload))
    assert (read.schema_id, read.payload) == (number, payload)


def test_a_field_that_the_output_does_not_know_is_kept():
    """Protobuf's own rule: it is there for whoever knows the newer schema."""
    made = PLAIN.merged(ANSWERED, news(ANSWERED, id=1, answer="x"), {"headline": "y"})
    assert ANSWERED.values(made)["answer"] == "x"


def test_templates_see_json():
    """Field names are those of the file; what is not there has no name."""
    data = news(PLAIN, at={"seconds": 0}, by={"name": "me"})
    assert PLAIN.values(data) == {
        "id": "0", "headline": "", "lines": [], "at": "1970-01-01T00:00:00Z", "by": {"name": "me"},
    }  # fmt: skip
    assert "by" not in PLAIN.values(news(PLAIN))


def test_the_message_is_the_one_that_the_record_names():
    line = PLAIN.messages[(1, 0)]
    data = joined_indexes((1, 0)) + GetMessageClass(line)(text="a").SerializeToString()
    assert PLAIN.values(data) == {"text": "a"}
    with pytest.raises(SchemaMismatch, match="no message at"):
        PLAIN.values(b"\x02\x08")


def test_a_number_that_means_something_else_is_a_mismatch():
    other = ProtobufSchema.of(
        RegisteredSchema(
            3, "PROTOBUF", 'syntax = "proto3"; package x; message News { string headline = 1; string answer = 2; }'
        )
    )
    with pytest.raises(SchemaMismatch, match="number 1"):
        other.check(PLAIN, news(PLAIN, id=1), ["answer"])


def test_a_message_without_the_answer_says_what_to_do():
    with pytest.raises(SchemaMismatch, match=r"output\.subject"):
        PLAIN.check(PLAIN, news(PLAIN), ["answer"])


def test_an_answer_that_does_not_fit_says_so():
    with pytest.raises(UnfitAnswer, match=r"x\.News"):
        ANSWERED.merged(ANSWERED, news(ANSWERED), {"answer": ["a"]})


@pytest.mark.parametrize(
    ("text", "reference", "told"),
    [
        ('syntax = "proto3"; message A { Nope a = 1; }', AUTHOR, "Nope"),
        ('syntax = "proto3"; import "gone.proto";', AUTHOR, "gone.proto"),
        ('syntax = "proto3";', Reference("../up.proto", ""), "no name of a file"),
    ],
    ids=["type", "import", "outside"],
)
def test_a_file_that_cannot_be_compiled_says_why(text, reference, told):
    with pytest.raises(UnusableSchema, match=told):
        ProtobufSchema.of(RegisteredSchema(4, "PROTOBUF", text, (reference,)))
