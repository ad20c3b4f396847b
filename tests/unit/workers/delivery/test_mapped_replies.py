"""Replies under a map: the record itself comes back, under its own key; an answer that does not fit is told so."""

from dataclasses import replace

import orjson
import pytest

from pelton.pipeline.errors import InvalidValue
from pelton.pipeline.wire.bodies import CHAT_BODIES, BodyCodec
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.record_map import RecordMap
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.delivery.reply_records import WorkerIdentity
from pelton.workers.delivery.reply_spans import ReplySpans
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, Duplicate, Failed, OutgoingReply, Result
from tests.unit._support.turns import delivery

VALUE = b'{"id": 7}'
TEXT = RecordMap("{{ id }}", None, {}, "answer", "text")


@pytest.fixture
def owed() -> Delivery:
    plain = delivery(1, "")
    return replace(plain, record=replace(plain.record, key=b"k7", value=VALUE))


def reply(ending: Result, bodies: BodyCodec) -> OutgoingReply:
    return ReplyBuilder(
        SimulatedCodec(), WorkerIdentity("m", "w"), "group", ReplySpans(None, "group", "m"), bodies
    ).pack([ending])[0]


def hit(owed: Delivery, text: str, end: str = "stop") -> CacheHit:
    message = {"role": "assistant", "content": text}
    body = orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": end}], "usage": {}})
    return CacheHit(owed, CacheKeys("answer"), body, CacheOutcome.HIT_LOCAL)


def test_the_record_comes_back_with_its_key_and_the_answer(owed):
    """What equal requests share stays the plain answer: each has a record of its own to put it into."""
    made = reply(hit(owed, "yes"), TEXT)
    assert made.records[0].key == b"k7"
    assert orjson.loads(made.value) == {"id": 7, "answer": "yes"}
    assert made.body == hit(owed, "yes").body


def test_without_a_map_the_key_is_the_correlation_id(owed):
    made = reply(hit(owed, "yes"), CHAT_BODIES)
    assert made.records[0].key == owed.envelope.correlation_id
    assert orjson.loads(made.value)["object"] == "chat.completion"


def test_a_reply_told_again_is_the_same(owed):
    """It is the whole record already: nothing is put into it twice."""
    made = reply(Duplicate(owed, b'{"id": 7,"answer":"yes"}'), TEXT)
    assert made.value == b'{"id": 7,"answer":"yes"}'
    assert made.records[0].key == b"k7"


def test_an_answer_that_is_no_json_is_an_error_and_a_dead_letter(owed):
    made = reply(hit(owed, "no"), replace(TEXT, parse="json"))
    error, letter = made.records
    assert orjson.loads(error.value or b"")["error"]["code"] == "unfit_answer"
    assert (error.key, letter.key, letter.value) == (b"k7", b"k7", VALUE)


def test_a_cut_answer_is_an_error_and_a_dead_letter(owed):
    """Its record can be replayed when the map leaves more room."""
    error, letter = reply(hit(owed, "half of", "length"), TEXT).records
    assert orjson.loads(error.value or b"")["error"]["code"] == "answer_cut"
    assert letter.value == VALUE


def test_a_large_reply_keeps_its_key_when_its_smaller_form_is_sent(owed):
    made = reply(hit(owed, "x" * 9_000), TEXT)
    (small,) = made.without(made.records).records
    assert small.key == b"k7"


def test_a_refusal_keeps_the_key(owed):
    assert reply(Failed(owed, InvalidValue("no")), TEXT).records[0].key == b"k7"
