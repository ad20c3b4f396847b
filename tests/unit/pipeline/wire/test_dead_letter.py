"""Dead letters, as Spring Kafka's own recoverer writes them."""

import struct
from dataclasses import replace

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.errors import EngineError, PeltonError, UnknownParameter
from pelton.pipeline.wire.contract import dead_letter_topic
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord, Source

ERROR = UnknownParameter("Unknown parameter 'modle': leave it out.", param="modle")
SPRING_HEADERS = [
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-original-timestamp-type",
    "kafka_dlt-original-consumer-group",
    "kafka_dlt-exception-fqcn",
    "kafka_dlt-exception-message",
    "pelton-attempt",
]


RECORD = RequestRecord(Source("inference.requests", 3, 41), b"key", b"{}", (), 1_700_000_000_123, 0)


def letter(request: RequestRecord, error: PeltonError = ERROR) -> OutgoingRecord:
    return dead_letter(request, error, "pelton", attempt=2)


def test_headers_are_springs_by_name_and_encoding() -> None:
    """Spring's consumers of a dead-letter topic find what they look for: big-endian integers, UTF-8 texts."""
    assert letter(RECORD).headers == [
        ("kafka_dlt-original-topic", b"inference.requests"),
        ("kafka_dlt-original-partition", struct.pack(">i", 3)),
        ("kafka_dlt-original-offset", struct.pack(">q", 41)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_123)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"pelton"),
        ("kafka_dlt-exception-fqcn", b"pelton.errors.UnknownParameter"),
        ("kafka_dlt-exception-message", b"unknown_parameter: Unknown parameter 'modle': leave it out."),
        ("pelton-attempt", b"2"),
    ]


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.integers(-1, 2**63 - 1))
def test_integers_of_any_size_fit(partition: int, offset: int, timestamp_ms: int) -> None:
    """The whole range Kafka has, with -1 for a record without a time."""
    written = dict(letter(replace(RECORD, source=Source("t", partition, offset), timestamp_ms=timestamp_ms)).headers)
    assert written["kafka_dlt-original-partition"] == struct.pack(">i", partition)
    assert written["kafka_dlt-original-offset"] == struct.pack(">q", offset)
    assert written["kafka_dlt-original-timestamp"] == struct.pack(">q", timestamp_ms)


@pytest.mark.parametrize(("kind", "name"), [(0, b"CreateTime"), (1, b"LogAppendTime"), (-1, b"NoTimestampType")])
def test_timestamp_type_is_named_as_in_java(kind: int, name: bytes) -> None:
    """`TimestampType.toString()`."""
    assert dict(letter(replace(RECORD, timestamp_type=kind)).headers)["kafka_dlt-original-timestamp-type"] == name


@pytest.mark.parametrize("value", [None, b"", b"\xff not a request", b"{}"])
@pytest.mark.parametrize("key", [None, b"", b"key"])
def test_the_record_is_kept_as_it_was(value: bytes | None, key: bytes | None) -> None:
    """It can be looked at and replayed: null stays null, empty stays empty, and the key chooses the partition.

    Only a record that has neither gets a key, its own place, because the client sends none without both.
    """
    out = letter(replace(RECORD, value=value, key=key))
    kept_key = b"inference.requests-3-41" if key is None and value is None else key
    assert (out.topic, out.value, out.key, out.partition) == ("inference.requests-dlt", value, kept_key, None)


def test_the_senders_headers_are_kept_in_order_null_and_repeated_ones_too() -> None:
    """A replay needs them exactly as they were."""
    sent = [("kafka_correlationId", b"\xff\x00"), ("x", None), ("x", b"1"), ("x", b"1"), ("pelton-tenant", b"acme")]
    out = letter(replace(RECORD, headers=sent))
    assert list(out.headers[: len(sent)]) == sent
    assert [name for name, _ in out.headers[len(sent) :]] == SPRING_HEADERS


def test_a_second_dead_lettering_replaces_the_first_reason() -> None:
    """A replayed record that fails again tells its last failure only; the headers do not pile up."""
    first = letter(replace(RECORD, headers=[("a", b"1"), ("kafka_dlt-exception-stacktrace", b"from Spring")]))
    replayed = replace(RECORD, headers=first.headers, source=Source("inference.requests", 1, 99))
    again = letter(replayed, EngineError("It broke."))
    assert [name for name, _ in again.headers] == ["a", *SPRING_HEADERS]
    assert dict(again.headers)["kafka_dlt-exception-message"] == b"engine_error: It broke."
    assert dict(again.headers)["kafka_dlt-original-offset"] == struct.pack(">q", 99)


def test_a_record_too_large_for_the_topic_leaves_the_reason() -> None:
    """The fallback has the place and the reason, says that the rest is missing, and is small."""
    large = replace(RECORD, value=b"x" * 5_000_000, key=b"k" * 1_000, headers=[("h", b"y" * 5_000_000)])
    fallback = letter(large, EngineError("z" * 5_000_000)).fallback
    assert fallback is not None
    assert (fallback.topic, fallback.value, fallback.key) == (
        "inference.requests-dlt",
        None,
        b"inference.requests-3-41",
    )
    assert [name for name, _ in fallback.headers] == [*SPRING_HEADERS, "pelton-dlt-truncated"]
    assert sum(len(value or b"") for _, value in fallback.headers) < 10_000


def test_topics_own_name_for_its_dead_letters() -> None:
    """Spring's default suffix since version 4."""
    assert dead_letter_topic("inference.requests.batch") == "inference.requests.batch-dlt"


@settings(deadline=None)
@given(
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())), value=st.none() | st.binary(), message=st.text()
)
def test_any_dead_letter_can_be_written_and_read_by_a_kafka_client(
    headers: list[tuple[str, bytes | None]], value: bytes | None, message: str
) -> None:
    """Whatever the record was, the client's own encoder takes the dead letter, and its decoder gives it back."""
    out = letter(replace(RECORD, headers=headers, value=value), EngineError(message))
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    builder.append(0, 1, out.key, out.value, list(out.headers))
    (read,) = DefaultRecordBatch(bytes(builder.build()))
    assert (read.key, read.value) == (out.key, out.value)
    assert list(read.headers) == list(out.headers)
