"""Reading request headers: what each one means, and which values it may not have."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheUse, Lane
from pelton.pipeline.wire.headers import Envelope, ReplyPolicy, read_envelope
from tests.unit.pipeline.wire._support.headers import POLICY, SOURCE, fault, read

DOCUMENTED = {
    "kafka_correlationId",
    "correlation_id",
    "kafka_replyTopic",
    "kafka_replyPartition",
    "traceparent",
    "tracestate",
    "pelton-tenant",
    "pelton-priority",
    "pelton-deadline",
    "pelton-session",
    "pelton-cache",
}


# --- what is read


def test_the_names_on_the_wire_are_the_documented_ones() -> None:
    """Senders have these names in their code: they never change."""
    assert {
        contract.CORRELATION_ID,
        contract.CORRELATION_ID_ALIAS,
        contract.REPLY_TOPIC,
        contract.REPLY_PARTITION,
        contract.TRACEPARENT,
        contract.TRACESTATE,
        contract.TENANT,
        contract.PRIORITY,
        contract.DEADLINE,
        contract.SESSION,
        contract.CACHE,
    } == DOCUMENTED


def test_no_headers_are_fine() -> None:
    """A plain record is a valid request: the reply goes to the default topic under the record's own place."""
    assert read() == Envelope(SOURCE, b"inference.requests-3-41", "inference.replies")


def test_everything_at_once() -> None:
    """Every header that is read arrives, in its unit, and none is a fault."""
    assert read(
        ("kafka_correlationId", b"id"),
        ("kafka_replyTopic", b"replies.x"),
        ("kafka_replyPartition", b"\x00\x00\x01\x02"),
        ("traceparent", b"parent"),
        ("tracestate", b"state"),
        ("pelton-tenant", b"acme"),
        ("pelton-deadline", b"1700000000000"),
        ("pelton-cache", b"refresh"),
    ) == Envelope(
        SOURCE, b"id", "replies.x", 258, "acme", 1_700_000_000_000, b"parent", b"state",
        cache=CacheUse.REFRESH, id_given=True, partition_given=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["spring_json_header_types", "__TypeId__", "pelton", "x-pelton-tenant", "", "kafka_x"])
def test_foreign_headers_are_left_alone(name: str) -> None:
    """Headers of other systems are none of our business."""
    assert read((name, b"anything")).fault is None


@settings(deadline=None)
@given(st.binary(min_size=1), st.sampled_from(["kafka_correlationId", "correlation_id"]))
def test_correlation_id_is_opaque(correlation_id: bytes, name: str) -> None:
    """Whatever bytes the sender chose come back, text or not, under either name."""
    envelope = read((name, correlation_id))
    assert envelope.correlation_id == correlation_id
    assert envelope.fault is None


def test_springs_correlation_header_wins_over_the_alias() -> None:
    """With both, Spring's own is the one its reply listener waits for."""
    assert read(("correlation_id", b"alias"), ("kafka_correlationId", b"spring")).correlation_id == b"spring"


@pytest.mark.parametrize("nothing", [b"", None])
def test_empty_correlation_id_is_none(nothing: bytes | None) -> None:
    """An empty id can match no request: the alias counts, else the record's place."""
    assert read(("kafka_correlationId", nothing), ("correlation_id", b"alias")).correlation_id == b"alias"
    assert read(("kafka_correlationId", nothing)).correlation_id == b"inference.requests-3-41"


def test_of_a_repeated_header_the_last_counts() -> None:
    """As in Spring, where a later header replaces the earlier one; a null value, too, takes away what came before."""
    assert read(("pelton-tenant", b"a"), ("pelton-tenant", b"b")).tenant == "b"
    assert read(("pelton-tenant", b"not valid!"), ("pelton-tenant", b"b")).fault is None
    assert read(("pelton-tenant", b"a"), ("pelton-tenant", None)).tenant == ""


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_null_value_is_no_value(name: str) -> None:
    """Kafka allows null header values and clients deliver them: they read as if the header were not there."""
    assert read((name, None)) == read()


@pytest.mark.parametrize("session", ["a", "chat-1", "user@example.org:2024.1_x", "x" * 256])
def test_a_session_is_read_where_it_is_the_records_key(session: str) -> None:
    """The key decides the partition, and that keeps the session's requests in order."""
    envelope = read_envelope(SOURCE, [("pelton-session", session.encode())], POLICY, session.encode())
    assert (envelope.session, envelope.fault) == (session, None)


def test_the_lane_is_the_topics_where_the_request_names_none() -> None:
    """So a topic can be for people, and a job on it can stand back."""
    policy = replace(POLICY, interactive_topics=frozenset({SOURCE.topic}))
    assert read().lane is Lane.BATCH
    assert read(("pelton-priority", b"interactive")).lane is Lane.INTERACTIVE
    assert read_envelope(SOURCE, [], policy).lane is Lane.INTERACTIVE
    assert read_envelope(SOURCE, [("pelton-priority", b"batch")], policy).lane is Lane.BATCH


@pytest.mark.parametrize("use", ["use", "refresh", "bypass"])
def test_what_may_be_asked_of_the_cache(use: str) -> None:
    """Each of the three words is read; without the header it is `use`."""
    assert read(("pelton-cache", use.encode())).cache is CacheUse(use)
    assert read().cache is CacheUse.USE


@pytest.mark.parametrize("use", [b"Use", b"no-cache", b"", b"\xff"])
def test_other_words_for_the_cache_are_refused(use: bytes) -> None:
    """A request that means to bypass the cache must not be answered from it for a typo."""
    assert fault(("pelton-cache", use)) == ("invalid_header", "pelton-cache")


# --- where the reply goes


@pytest.mark.parametrize(
    "topic", ["inference.replies", "replies.x", "replies.Team_1-a", "team-a", "replies." + "x" * 241]
)
def test_allowed_reply_topics(topic: str) -> None:
    """The default topic and whatever matches a pattern can be asked for."""
    envelope = read(("kafka_replyTopic", topic.encode()))
    assert (envelope.reply_topic, envelope.fault) == (topic, None)


@pytest.mark.parametrize("topic", ["secret", "team-abc", "my-team-a", "xreplies.x", "inference.requests", "replies"])
def test_other_reply_topics_are_refused_and_not_used(topic: str) -> None:
    """A pattern must match the whole name; the error goes to the default topic, where the sender may look."""
    headers = [("kafka_replyTopic", topic.encode()), ("kafka_replyPartition", b"\x00\x00\x00\x01")]
    envelope = read(*headers)
    assert fault(*headers) == ("reply_topic_not_allowed", "kafka_replyTopic")
    assert (envelope.reply_topic, envelope.reply_partition) == ("inference.replies", None)
    assert "kafka.reply_topics_allowed" in str(envelope.fault)


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "replies/x", "réplique", "replies.x\n", "x" * 250])
def test_what_can_be_no_topic_is_refused_even_where_every_topic_is_allowed(topic: str) -> None:
    """A name that Kafka itself would refuse must not reach the producer, which could not send the reply."""
    policy = ReplyPolicy("inference.replies", (re.compile(r"(?s).*"),))
    envelope = read_envelope(SOURCE, [("kafka_replyTopic", topic.encode())], policy)
    assert envelope.fault is not None
    assert (envelope.fault.code, envelope.fault.param) == ("invalid_header", "kafka_replyTopic")
    assert envelope.reply_topic == "inference.replies"


def test_reply_topic_that_is_no_text_is_refused() -> None:
    """Bytes that are not UTF-8 name no topic."""
    assert fault(("kafka_replyTopic", b"\xff\xfe")) == ("invalid_header", "kafka_replyTopic")


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_reply_partition_is_springs_big_endian_int(partition: int) -> None:
    """Spring writes `ByteBuffer.allocate(4).putInt(partition)`."""
    envelope = read(("kafka_replyPartition", partition.to_bytes(4, "big")))
    assert (envelope.reply_partition, envelope.fault) == (partition, None)


@pytest.mark.parametrize(
    "raw",
    [b"", b"3", b"\x03", b"\x00\x03", b"\x00\x00\x03", b"\x00" * 5, b"\x00" * 8, b"\xff\xff\xff\xff", b"\x80\0\0\0"],
)
def test_other_reply_partitions_are_refused(raw: bytes) -> None:
    """Wrong sizes, decimal text and negative numbers are told, not guessed at; the key then decides."""
    envelope = read(("kafka_replyPartition", raw))
    assert fault(("kafka_replyPartition", raw)) == ("invalid_header", "kafka_replyPartition")
    assert envelope.reply_partition is None


# --- tenant, deadline


@pytest.mark.parametrize("tenant", ["a", "team@example.com", "A-1_b:c.d", "x" * 128])
def test_valid_tenants(tenant: str) -> None:
    """Names as people have them: letters, digits and a few marks, up to 128."""
    assert read(("pelton-tenant", tenant.encode())).tenant == tenant


@pytest.mark.parametrize("tenant", ["", " ", "a b", "a/b", "ä", "a\n", "x" * 129, "a\0"])
def test_invalid_tenants_are_refused(tenant: str) -> None:
    """A tenant goes into keys and labels: anything else is a fault and counts as no tenant."""
    assert fault(("pelton-tenant", tenant.encode())) == ("invalid_header", "pelton-tenant")
    assert read(("pelton-tenant", tenant.encode())).tenant == ""


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_deadline_is_decimal_milliseconds(deadline_ms: int, zeros: int) -> None:
    """Up to Java's `Long.MAX_VALUE`, which some senders use for "never"; the value is exact."""
    text = "0" * min(zeros, 19 - len(str(deadline_ms))) + str(deadline_ms)
    assert read(("pelton-deadline", text.encode())).deadline_ms == deadline_ms


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" 1",
        b"1 ",
        b"-1",
        b"+1",
        b"1.0",
        b"1e3",
        b"0x1",
        b"1_000",
        b"soon",
        "١٢".encode(),
        "²".encode(),
        b"1" * 20,
        b"1" * 9999,
    ],
)
def test_other_deadlines_are_refused(raw: bytes) -> None:
    """What is not plain digits, or too long to be a time, is a fault: never cut, never guessed, never no deadline."""
    assert fault(("pelton-deadline", raw)) == ("invalid_header", "pelton-deadline")
    assert read(("pelton-deadline", raw)).deadline_ms is None


@pytest.mark.parametrize(
    "names", [(), ("kafka_correlationId",), ("correlation_id",), ("kafka_correlationId", "correlation_id")]
)
def test_an_id_goes_back_under_its_senders_name(names: tuple[str, ...]) -> None:
    """A framework finds its replies by the header it wrote; Pelton's own name is always there too."""
    envelope = read_envelope(SOURCE, [(name, b"7") for name in names], ReplyPolicy("replies"))
    assert set(envelope.id_headers) == {"kafka_correlationId", *names}
