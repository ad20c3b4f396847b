"""What the chaos rig sends and reads: requests are due what they claim, replies and letters are told apart."""

from collections import Counter
from types import SimpleNamespace

import orjson
import pytest

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.contract import Lane
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.engine.simulated.text import signature
from tests.chaos.history import Kind, Letter
from tests.chaos.logs import letter, reply
from tests.chaos.mix import LETTER_BYTES, Mix
from tests.faulty.engine import Mark

PARTITIONS = 12
MANY = 4_000
DECIDED_ELSEWHERE = ("invalid_header", "model_not_found", "rate_limited")


def record(value, **headers):
    """A record as the Kafka client gives it, as far as it is looked at."""
    names = {name.replace("_", "-") if name.startswith("pelton") else name: raw for name, raw in headers.items()}
    return SimpleNamespace(topic="t", partition=0, offset=0, value=value, headers=list(names.items()), timestamp=1_000)


def test_a_seed_makes_the_same_requests_again():
    """The same seed and number give the same request, another seed another; correlation ids never repeat."""
    assert [Mix(1, PARTITIONS).request(n) for n in range(50)] == [Mix(1, PARTITIONS).request(n) for n in range(50)]
    made = [Mix(seed, PARTITIONS).request(n) for seed in (1, 2) for n in range(50)]
    made += [Mix(1, PARTITIONS).poison(n) for n in range(3)]
    assert len({request.correlation_id for request in made}) == len(made)
    assert len({request.content.value for request in made}) > 60


def test_requests_are_due_what_they_say():
    """Good ones decode and carry their prompt's signature, bad ones are refused with the code that is due for them."""
    requests = [Mix(7, PARTITIONS).request(number) for number in range(MANY)]
    for request in requests:
        content = request.content
        if content.kind is Kind.BAD and content.due not in DECIDED_ELSEWHERE:
            with pytest.raises(RequestError) as refused:
                decode_request(content.value, max_bytes=10**6)
            assert refused.value.code == content.due
        elif content.kind is Kind.GOOD:
            text = decode_request(content.value, max_bytes=10**6).messages[0].text
            assert signature(f"user: {text}").startswith(content.due)
            assert (content.due == "sim:") == (request.said is not None)
            assert Mark.KILL not in text
            assert Mark.FAIL not in text
    kinds = Counter(request.content.kind for request in requests)
    assert 0.005 < kinds[Kind.BAD] / MANY < 0.04
    assert 0 < kinds[Kind.FAILING] / MANY < 0.02
    assert {request.partition for request in requests} == set(range(PARTITIONS))
    assert any(len(request.content.value) > LETTER_BYTES for request in requests)
    shareable = [request.content for request in requests if request.content.shareable]
    assert 0.2 < len(shareable) / MANY < 0.4
    assert {content.kind for content in shareable} == {Kind.GOOD, Kind.FAILING}
    assert len({content.value for content in shareable}) < 60


@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_sender_wishes_it_may_get(seed):
    """Every end that a request may have is told by what it asks for; over quotas seeds wait and refuse by turns."""
    requests = [Mix(seed, PARTITIONS).request(number) for number in range(MANY)]
    ends = Counter[str]()
    for request in requests:
        wished, headers = request.wishes, dict(request.headers(1_000_000))
        ends.update(request.ends)
        assert request.content.kind is Kind.GOOD or not request.ends
        assert headers.get("pelton-tenant", b"").decode() in (wished.tenant, "small")
        assert ("deadline_exceeded" in request.ends) == (wished.deadline_s is not None)
        assert ("cancelled" in request.ends) == (wished.cancel_after_s is not None)
        if wished.deadline_s is not None:
            assert 1_000_000 < int(headers["pelton-deadline"]) < 1_010_000
    assert ("rate_limited" in ends) == (seed == 2)
    assert min(ends[code] for code in ("cancelled", "deadline_exceeded", "session_unavailable")) > MANY / 50
    assert {request.wishes.lane for request in requests} == {None, *Lane}
    assert sum(request.urgent for request in requests) > MANY / 20


def test_the_turns_of_a_session_are_on_one_partition():
    """Theirs and their replies', under the session's name as key; and there are enough of them to have a history."""
    turns = [request for number in range(MANY) if (request := Mix(3, PARTITIONS).request(number)).said]
    places = {(turn.said.talk, turn.partition, turn.reply_partition, turn.urgent) for turn in turns}
    assert len(places) == len({turn.said.talk for turn in turns}) < len(turns) / 5
    assert all(turn.key == turn.said.talk.encode() == dict(turn.headers(0))["pelton-session"] for turn in turns)


def test_replies_are_taken_for_what_they_are():
    """An answer, an error, or neither: what is no reply at all must not pass for one."""
    answer = orjson.dumps({"id": "c-1", "choices": [{"message": {"content": "sim:1 jet"}}]})
    headers = {"pelton_source": b"t-0-1", "pelton_worker": b"w", "pelton_cache": b"joined"}
    told = reply(record(answer, kafka_correlationId=b"id", **headers))
    assert (told.source, told.correlation_id, told.worker, told.timestamp_ms) == ("t-0-1", "id", "w", 1_000)
    assert (told.answer, told.error) == ("sim:1 jet", None)
    assert (told.outcome, told.completion_id) == ("joined", "c-1")
    refused = reply(record(orjson.dumps({"error": {"code": "not_utf8"}})))
    assert (refused.source, refused.answer, refused.error) == ("", None, "not_utf8")
    for rubbish in (None, b"", b"{", b"[]", b"7", b'{"choices": []}', b'{"error": null}'):
        told = reply(record(rubbish))
        assert (told.answer, told.error) == (None, None)


def test_letters_name_their_record_and_reason():
    """Spring's headers give the source and the code; without them it is a letter for nothing."""
    headers = {
        "kafka_dlt-original-topic": b"requests",
        "kafka_dlt-original-partition": (3).to_bytes(4, "big"),
        "kafka_dlt-original-offset": (70_000).to_bytes(8, "big"),
        "kafka_dlt-exception-message": b"invalid_json: The body is not JSON.",
    }
    assert letter(record(b"{", **headers)) == Letter("requests-3-70000", "invalid_json")
    assert letter(record(b"{")) == Letter("-0-0", "")
