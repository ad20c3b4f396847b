"""Maps: what a record becomes, where the answer goes, and that hostile records are their own trouble."""

import contextlib
import re
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline import templates
from pelton.pipeline.errors import AnswerCut, InvalidJson, InvalidValue, NotAnObject, NotUtf8, RequestError, UnfitAnswer
from pelton.pipeline.map_file import load_map
from pelton.pipeline.settings.loading import SettingsError
from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_map import RecordMap
from pelton.pipeline.wire.records import RequestRecord, Source

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "existing-topics.md"
MOST = 1_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('abc"\\{}é', max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
RECORDS = st.dictionaries(st.text('ab"é}', max_size=3) | st.just("answer"), JSON, max_size=5)


def record(value: bytes | None, key: bytes | None = None) -> RequestRecord:
    return RequestRecord(Source("t", 0, 1), key, value, (), 0, 0)


def completion(text: str, end: str = "stop") -> bytes:
    return orjson.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": end}]})


def mapping(
    user: str = "{{ text }}", *, field: str | None = "answer", parse: Literal["text", "json"] = "text"
) -> RecordMap:
    return RecordMap(user, None, {}, field, parse)


@given(RECORDS, st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_a_reply_is_the_record_with_the_answer(values, answer, indented):
    """Whatever the record holds, nothing of it is lost, and the answer is where the map wants it."""
    value = orjson.dumps(values, option=orjson.OPT_INDENT_2 if indented else 0)
    reply = mapping().reply(record(b" " + value + b"\n"), completion(answer))
    assert orjson.loads(reply) == {**values, "answer": answer}


@given(RECORDS, RECORDS)
def test_an_object_is_merged(values, answer):
    reply = mapping(field=None, parse="json").reply(
        record(orjson.dumps(values)), completion(orjson.dumps(answer).decode())
    )
    assert orjson.loads(reply) == {**values, **answer}


@pytest.mark.parametrize("field", [None, "id"], ids=["beside", "replaced"])
def test_numbers_too_large_for_floats_stay(field):
    """Ids of 30 digits are the same in the reply, also where the object is written anew."""
    value = b'{"id": 1, "big": 123456789012345678901234567890}'
    reply = mapping(field=field or "answer").reply(record(value), completion("x"))
    assert b"123456789012345678901234567890" in reply


@given(st.binary() | JSON.map(orjson.dumps))
def test_any_bytes_are_a_request_or_a_request_error(value):
    """No record raises anything that is not its own fault."""
    made = mapping("{{ record.a.b }}{% for x in a %}{% for y in x %}{{ y }}{% endfor %}{% endfor %}{{ key }}")
    with contextlib.suppress(RequestError):
        made.decode(record(value, b"\xff"), max_bytes=MOST)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"{", InvalidJson), (b'"\xff"', NotUtf8), (b"[]", NotAnObject), (b"{}", InvalidValue)],
    ids=["cut", "latin", "array", "missing"],
)
def test_faults_have_names(value, kind):
    with pytest.raises(kind):
        mapping().decode(record(value), max_bytes=MOST)


def test_what_a_record_says_is_no_template_and_hides_no_name():
    """Braces in data are text; a field called `record` or `counted` takes nothing away."""
    value = {"text": "{{ 7 * 7 }}", "record": 1, "counted": 2, "key": 3}
    made = mapping("{{ text }} {{ record.text }} {{ key }}{% for c in 'ab' %}{{ c }}{% endfor %}")
    (message,) = made.decode(record(orjson.dumps(value), b"k"), max_bytes=MOST).messages
    assert message.text == "{{ 7 * 7 }} {{ 7 * 7 }} kab"


def test_loops_over_a_hostile_record_end(monkeypatch):
    """Two loops over 500,000 elements that write nothing would run for days: they end by count, or by time."""
    made = mapping("{% for x in record.a %}{% for y in record.a %}{% if y %}z{% endif %}{% endfor %}{% endfor %}")
    hostile = record(b'{"a":[' + b"0," * 400_000 + b"0]}")
    monkeypatch.setattr(templates, "MAX_ROUNDS", 10_000)
    started = time.thread_time()
    with pytest.raises(InvalidValue, match="rounds"):
        made.decode(hostile, max_bytes=MOST)
    monkeypatch.setattr(templates, "MAX_ROUNDS", 10**12)
    monkeypatch.setattr(templates, "MAX_SECONDS", 0.1)
    with pytest.raises(InvalidValue, match="longer than"):
        made.decode(hostile, max_bytes=MOST)
    assert time.thread_time() - started < 5


def test_a_text_that_grows_is_cut_off():
    """A record printed as often as it has elements is refused at the limit of bodies, not after."""
    made = mapping("{% for x in record.a %}{{ record.b }}{% endfor %}")
    value = orjson.dumps({"a": [0] * 1_000, "b": "x" * 100_000})
    with pytest.raises(InvalidValue, match="over 1,000,000 characters"):
        made.decode(record(value), max_bytes=MOST)


@pytest.mark.parametrize("end", ["length", "content_filter"])
@pytest.mark.parametrize("parse", ["text", "json"])
def test_a_cut_answer_is_no_answer(end, parse):
    """Also where its beginning would do: nobody sees on the record that more was to come."""
    with pytest.raises(AnswerCut, match=r"request\.max_tokens.*output\.finish_reason"):
        mapping(parse=parse).reply(record(b"{}"), completion("1", end))


@given(RECORDS, st.sampled_from(["stop", "length"]))
def test_a_cut_answer_may_be_marked(values, end):
    made = replace(mapping(), finish_reason="end")
    reply = made.reply(record(orjson.dumps(values)), completion("yes", end))
    assert orjson.loads(reply) == {**values, "answer": "yes", "end": end}


def test_marking_makes_another_map():
    assert replace(mapping(), finish_reason="end").identity != mapping().identity


def test_an_answer_that_is_no_json_says_what_to_do():
    with pytest.raises(UnfitAnswer, match="response_format"):
        mapping(parse="json").reply(record(b"{}"), completion("no"))
    with pytest.raises(UnfitAnswer, match=r"output\.field"):
        mapping(field=None, parse="json").reply(record(b"{}"), completion("[1]"))


def test_the_example_of_the_guide_works(tmp_path):
    """The map of the page makes the request that the page says of the record of the page."""
    fences = dict(re.findall(r"^```(json|toml)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "map.toml").write_text(fences["toml"])
    made = load_map(tmp_path / "map.toml", SchemaSettings())
    request = made.decode(record(fences["json"].encode()), max_bytes=MOST)
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.messages[1].text.startswith("Teekay sells four tankers\nThe company said")
    assert request.max_tokens == 200
    reply = orjson.loads(made.reply(record(fences["json"].encode()), completion("Sold.")))
    assert reply == {**orjson.loads(fences["json"]), "summary": "Sold."}
    assert tomllib.loads(fences["toml"])["output"] == {"field": "summary"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "prompt: Field required"),
        ("[prompt]\nuser='{{ x'\n[output]\nfield='a'", "prompt.user, line 1"),
        ("[prompt]\nuser='{{ x() }}'\n[output]\nfield='a'", "call is not allowed"),
        ("[prompt]\nuser='{{ x|counted(y) }}'\n[output]\nfield='a'", "counted is not allowed"),
        ("[prompt]\nuser='x'\n[output]\nparse='text'", "name a field"),
        ("[prompt]\nuser='x'\n[output]\nfield='a'\nfinish_reason='a'", "name two fields"),
        ("[prompt]\nuser='x'\n[output]\nfeild='a'", "did you mean output.field?"),
        ("[prompt]\nuser='x'\n[request]\ntemperature=9\n[output]\nfield='a'", "request.temperature"),
        ("[prompt]\nuser='x'\n[request]\nn=2\n[output]\nfield='a'", "request.n"),
        ("[prompt", "it is not TOML"),
    ],
    ids=["empty", "syntax", "call", "counted", "no-field", "same-field", "typo", "temperature", "n", "toml"],
)
def test_a_map_at_fault_names_file_field_and_fix(tmp_path, text, told):
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(told)) as raised:
        load_map(path, SchemaSettings())
    assert str(path) in str(raised.value)
