"""Headers that are wrong: which fault is told, and that reading itself never fails."""

import time
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES, ReplyPolicy, read_envelope
from tests.unit.pipeline.wire._support.headers import POLICY, SOURCE, fault, read

KNOWN = (
    *("kafka_correlationId", "correlation_id", "kafka_replyTopic", "kafka_replyPartition", "traceparent", "tracestate"),
    *("pelton-tenant", "pelton-priority", "pelton-deadline", "pelton-session", "pelton-cache"),
)


@pytest.mark.parametrize("value", [b"Interactive", b"high", b"", b"\xff"])
def test_other_words_for_a_lane_are_refused(value: bytes) -> None:
    """A request that asks for one must not be answered as if it had not."""
    assert fault(("pelton-priority", value)) == ("invalid_header", "pelton-priority")


@pytest.mark.parametrize("value", [b"", b"a b", b"a/b", b"\xff", "é".encode(), b"x" * 257])
def test_a_session_has_a_name_of_safe_characters(value: bytes) -> None:
    """What is no name is refused even where it is the record's key."""
    envelope = read_envelope(SOURCE, [("pelton-session", value)], POLICY, value)
    assert envelope.fault is not None
    assert (envelope.fault.code, envelope.fault.param) == ("invalid_header", "pelton-session")
    assert envelope.session == ""


@pytest.mark.parametrize(
    ("topic", "value", "wanted", "code"),
    [
        (None, b"true", None, "unsupported_header"),
        ("live", b"true", "live", None),
        ("live", b"live", "live", None),
        ("live", b"somebody-elses", None, "invalid_header"),
        ("live", b"false", None, "invalid_header"),
        ("live", b"\xff", None, "invalid_header"),
    ],
)
def test_partial_text_is_sent_to_the_stream_topic_or_nowhere(
    topic: str | None, value: bytes, wanted: str | None, code: str | None
) -> None:
    """By its name or as `true`; a sender cannot have it written elsewhere."""
    policy = ReplyPolicy("inference.replies", stream_topic=topic)
    envelope = read_envelope(SOURCE, [("pelton-stream", value)], policy)
    assert envelope.stream_topic == wanted
    assert (envelope.fault and envelope.fault.code) == code


@pytest.mark.parametrize("key", [None, b"", b"chat", b"chat-11", b"CHAT-1"])
def test_a_session_must_be_the_records_key(key: bytes | None) -> None:
    """Under another key its turns might be on two partitions, in no order; the fault tells what the key is to be."""
    envelope = read_envelope(SOURCE, [("pelton-session", b"chat-1")], POLICY, key)
    assert envelope.fault is not None
    assert (envelope.fault.code, envelope.fault.param) == ("invalid_header", "pelton-session")
    assert "'chat-1'" in str(envelope.fault)
    assert envelope.session == ""


@pytest.mark.parametrize(
    "name", ["pelton-tennant", "pelton-", "pelton-deadline-ms", "Pelton-Tenant", "PELTON-DEADLINE", "pelton-source"]
)
def test_typos_in_our_prefix_are_refused(name: str) -> None:
    """A deadline under a name that means nothing would be ignored in silence; the fault tells the right names."""
    assert fault((name, b"1")) == ("invalid_header", name)
    told = str(read((name, b"1")).fault)
    assert "pelton-cache, pelton-deadline, pelton-priority, pelton-session, pelton-stream, pelton-tenant" in told


@pytest.mark.parametrize("shuffled", [False, True])
def test_faults_come_in_a_fixed_order(shuffled: bool) -> None:
    """The first fault is told, whatever order the sender wrote the headers in; mending them one by one ends."""
    wrong: list[tuple[str, bytes | None]] = [
        ("kafka_replyTopic", b"secret"),
        ("kafka_replyPartition", b"3"),
        ("pelton-tenant", b"a b"),
        ("pelton-session", b"no key"),
        ("pelton-deadline", b"soon"),
        ("pelton-cache", b"yes"),
        ("pelton-priority", b"high"),
    ]
    while wrong:
        headers = wrong[::-1] if shuffled else wrong
        assert fault(*headers)[1] == wrong[0][0]
        del wrong[0]


def test_one_fault_does_not_hide_what_is_right() -> None:
    """The error reply still goes where the sender asked, under its id, for its tenant, in its trace."""
    envelope = read(
        ("pelton-tennant", b"x"),
        ("kafka_correlationId", b"id"),
        ("kafka_replyTopic", b"replies.x"),
        ("kafka_replyPartition", b"\0\0\0\1"),
        ("pelton-tenant", b"acme"),
        ("traceparent", b"parent"),
    )
    assert envelope.fault is not None
    assert (envelope.correlation_id, envelope.reply_topic, envelope.reply_partition) == (b"id", "replies.x", 1)
    assert (envelope.tenant, envelope.traceparent) == ("acme", b"parent")


NAMES = st.sampled_from(KNOWN) | st.text().map(lambda rest: "pelton-" + rest) | st.text()
VALUES = st.none() | st.binary() | st.text().map(str.encode) | st.integers().map(lambda number: str(number).encode())


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_any_headers_can_be_read(headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Reading never raises, and leaves an address that can be sent to and an error that can be written as JSON."""
    envelope = read_envelope(SOURCE, headers, POLICY)
    assert POLICY.allows(envelope.reply_topic)
    assert envelope.correlation_id
    assert envelope.reply_partition is None or 0 <= envelope.reply_partition < 2**31
    assert envelope.deadline_ms is None or envelope.deadline_ms >= 0
    if envelope.fault is not None:
        start = (envelope.fault.param or "")[:50]  # of a long name the error has both ends
        assert start in {name[:50] for name, _ in headers}
        orjson.dumps(envelope.fault.body())


@pytest.mark.parametrize("name", ["pelton-" + "x" * 1_000_000, "kafka_replyTopic", "pelton-tenant", "pelton-deadline"])
def test_errors_stay_small_however_large_the_header(name: str) -> None:
    """A megabyte in a header must not come back as a megabyte of error."""
    found = read((name, b"1" * 1_000_000)).fault
    assert found is not None
    assert len(orjson.dumps(found.body())) < 2_000


@pytest.mark.parametrize("name", ["kafka_correlationId", "correlation_id"])
def test_an_id_too_long_to_go_back_is_refused(name: str) -> None:
    """Its error reply has the request's place for an id, and fits any topic; one of just the limit is taken."""
    envelope = read((name, b"x" * (MAX_CORRELATION_ID_BYTES + 1)))
    assert envelope.fault is not None
    assert (envelope.fault.code, envelope.fault.param) == ("invalid_header", "kafka_correlationId")
    assert (envelope.correlation_id, envelope.id_given) == (b"inference.requests-3-41", False)
    assert read((name, b"x" * MAX_CORRELATION_ID_BYTES)).fault is None


def test_a_trace_state_too_long_to_go_back_is_dropped() -> None:
    """The standard allows it; the request is answered all the same."""
    assert read(("tracestate", b"a=1")).tracestate == b"a=1"
    assert read(("tracestate", b"a" * 5_000)) == read(("tracestate", None))


def test_thousands_of_unknown_headers_cost_one_error() -> None:
    """Each would be an error to build, and only the first is told."""
    began = time.thread_time()
    assert read(*((f"pelton-{number}", b"") for number in range(100_000))).fault is not None
    assert time.thread_time() - began < 1
