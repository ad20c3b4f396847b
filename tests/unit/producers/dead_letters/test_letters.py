"""Dead letters read back: what the worker wrote, what other software may have written, and what is made of it."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.errors import EngineError, OutOfMemory, PeltonError
from pelton.pipeline.wire.dead_letter import TRUNCATED, dead_letter
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import Headers, RequestRecord, Source
from pelton.producers.dead_letters.letters import (
    DeadLetter,
    LetterPosition,
    Replayed,
    Selection,
    note,
    read_record,
    unreadable,
)
from pelton.producers.dead_letters.replay import obstacle
from pelton.producers.dead_letters.replay_sender import as_request

PARTITIONS = 12


@dataclass(frozen=True)
class Fetched:
    """As much of aiokafka's `ConsumerRecord` as is read."""

    headers: Headers
    key: bytes | None = None
    value: bytes | None = b"{}"
    partition: int = 3
    offset: int = 41
    timestamp: int = 1_700_000_000_500


def record_of(record, error, *, truncated=False):
    """What lies on the dead-letter topic when `record` fails with `error`."""
    written = dead_letter(record, error, "group")
    sent = written.fallback if truncated else written
    return Fetched(tuple(sent.headers), sent.key, sent.value)


def letter_of(record, error, *, truncated=False):
    return read_record(record_of(record, error, truncated=truncated))


REQUEST = RequestRecord(Source("requests", 2, 7), b"key", b"{}", [("kafka_correlationId", b"id")], 1_700_000_000_000, 0)
LETTER = letter_of(REQUEST, OutOfMemory("No room."))

names = st.text(max_size=20) | st.sampled_from(["kafka_correlationId", "correlation_id", "pelton-tenant", "pelton-x"])
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=20)), max_size=5)
records = st.builds(
    RequestRecord,
    st.builds(Source, st.text(min_size=1), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
    st.none() | st.binary(),
    st.none() | st.binary(),
    headers,
    st.integers(-1, 2**63 - 1),
    st.sampled_from([0, 1]),
)
errors = st.one_of([st.builds(kind, st.text()) for kind in (OutOfMemory, EngineError)])


@settings(deadline=None)
@given(records, errors)
def test_what_the_worker_writes_is_read_back(record: RequestRecord, error: PeltonError) -> None:
    """Origin, time, code, message, key, value: whatever the request was."""
    letter = letter_of(record, error)
    assert isinstance(letter, DeadLetter)
    assert (letter.place, letter.timestamp_ms) == (LetterPosition(3, 41), 1_700_000_000_500)
    assert (letter.origin, letter.origin_timestamp_ms) == (record.source, record.timestamp_ms)
    assert (letter.code, letter.message) == (error.code, error.message)
    assert (letter.value, letter.truncated) == (record.value, False)
    assert letter.key == record.key or record.key is record.value is None


@settings(deadline=None)
@given(records, errors)
def test_a_replayed_request_is_the_request(record: RequestRecord, error: PeltonError) -> None:
    """Topic, partition, key, value and headers; at most a correlation id is added."""
    request = as_request(letter_of(record, error), 2**31)
    place = str(record.source).encode()
    assert (request.topic, request.partition) == (record.source.topic, record.source.partition)
    assert (request.key, request.value) == (
        place if record.key is record.value is None else record.key,
        record.value,
    )
    added = [("kafka_correlationId", place)]
    assert list(request.headers) in (record.headers, [*record.headers, *added])


@settings(deadline=None)
@given(records)
def test_a_replayed_request_goes_by_the_same_id(record: RequestRecord) -> None:
    """The worker reads the same correlation id from it as it did the first time: someone may know the request by it."""
    letter = letter_of(record, EngineError("x"))
    request = as_request(letter, 2**31)
    policy = ReplyPolicy("replies")
    first = read_envelope(record.source, record.headers, policy)
    second = read_envelope(Source("requests", 0, 0), request.headers, policy)
    assert letter.correlation_id == first.correlation_id == second.correlation_id
    assert (letter.tenant or "") == first.tenant or first.fault is not None


@settings(deadline=None)
@given(headers, st.none() | st.binary(), st.none() | st.binary())
def test_any_record_can_be_read(written: Headers, key: bytes | None, value: bytes | None) -> None:
    """Other software may write to the topic: a record without our headers is a letter of unknown origin."""
    letter = read_record(Fetched(written, key, value))
    assert isinstance(letter, DeadLetter)
    assert (letter.origin, letter.code, letter.key, letter.value) == (None, None, key, value)
    assert obstacle(letter, "requests-dlt") is not None


def test_headers_that_are_no_integers_and_no_text() -> None:
    """They are taken for missing, or shown as well as can be."""
    last = {
        "kafka_dlt-original-topic": b"\xff",
        "kafka_dlt-original-partition": b"\x00\x01",
        "kafka_dlt-original-offset": b"\x01" * 4_000,
        "kafka_dlt-exception-message": b"Listener failed: \xff",
        "pelton-attempt": b"two",
    }
    letter = read_record(Fetched(tuple(last.items())))
    assert (letter.origin, letter.code, letter.attempts) == (None, None, None)
    assert letter.message == "Listener failed: \ufffd"


@pytest.mark.parametrize(("written", "attempts"), [(b"3", 3), (b"", None), (b"-1", None), (b"9" * 5_000, None)])
def test_attempts(written, attempts):
    """How often the worker tried, where it says so."""
    letter = read_record(Fetched((*LETTER.headers, ("pelton-attempt", written))))
    assert isinstance(letter, DeadLetter)
    assert letter.attempts == attempts
    assert "pelton-attempt" not in dict(as_request(letter, PARTITIONS).headers)


def test_a_truncated_letter():
    """It has its reason and its origin, and cannot be replayed; its key and headers are not the request's."""
    letter = letter_of(REQUEST, OutOfMemory("No room."), truncated=True)
    assert (letter.truncated, letter.code, letter.origin) == (True, "out_of_memory", REQUEST.source)
    assert letter.correlation_id is None
    assert "too large for the dead-letter topic" in (obstacle(letter, "requests-dlt") or "")


def test_a_request_that_calls_itself_truncated():
    """A sender's own header of that name takes nothing away: the body is there."""
    letter = letter_of(replace(REQUEST, headers=[(TRUNCATED, b"true")]), EngineError("x"))
    assert (letter.truncated, obstacle(letter, "requests-dlt")) == (False, None)


NOTE = (("pelton-dlt-replayed", b"3:40"), ("pelton-dlt-replayed-as", b"requests-1-9"))


def test_a_note():
    """Which letter was replayed, when, and as what."""
    assert read_record(Fetched(NOTE, b"k", None)) == Replayed(LetterPosition(3, 40), 1_700_000_000_500, "requests-1-9")


@pytest.mark.parametrize("place", [b"2:40", b"3:41", b"3:42", b"3:99999"])
def test_a_note_lies_behind_its_letter(place):
    """One for a letter that is yet to come, or on another partition, hides nothing: it is listed as a letter."""
    assert isinstance(read_record(Fetched((("pelton-dlt-replayed", place),), b"k", None)), DeadLetter)


def test_where_the_group_has_a_secret_a_note_is_signed():
    """With that secret, for that letter and request; what is not is listed."""
    key, headers = note(LetterPosition(3, 40), "requests-1-9", b"secret")
    assert read_record(Fetched(tuple(headers), key, None), b"secret") == Replayed(
        LetterPosition(3, 40), 1_700_000_000_500, "requests-1-9"
    )
    forged = [
        (NOTE, key, b"secret"),
        (tuple(headers), key, b"another"),
        ((("pelton-dlt-replayed", b"3:39"), *headers[1:]), key, b"secret"),
    ]
    for found, of, secret in forged:
        assert isinstance(read_record(Fetched(found, of, None), secret), DeadLetter)
    assert isinstance(read_record(Fetched(tuple(headers), key, None)), Replayed)


def test_a_record_that_cannot_be_read_stands_as_a_letter():
    """It says why, in a line, and cannot be replayed."""
    letter = unreadable(LetterPosition(1, 2), UnicodeDecodeError("utf-8", b"\xff" * 1_000_000, 0, 1, "bad"))
    assert (letter.place, letter.code, len(letter.message) < 500) == (LetterPosition(1, 2), "unreadable_record", True)
    assert obstacle(letter, "requests-dlt")


@pytest.mark.parametrize("header", [b"2:40", b"nonsense"])
def test_a_request_with_a_notes_header(header):
    """A sender cannot make a letter, his own or another's, look replayed."""
    letter = letter_of(replace(REQUEST, headers=[("pelton-dlt-replayed", header)], value=None), EngineError("x"))
    assert isinstance(letter, DeadLetter)


def test_a_note_of_other_software():
    """What cannot be understood is listed rather than believed."""
    assert isinstance(read_record(Fetched((("pelton-dlt-replayed", b"nonsense"),), b"k", None)), DeadLetter)


def test_a_partition_that_is_gone():
    """On a topic with fewer partitions than it had the key decides."""
    assert as_request(LETTER, 3).partition == 2
    assert as_request(LETTER, 2).partition is None


def test_letters_of_another_topic():
    """They are not sent where their headers point: that could be anywhere."""
    assert obstacle(LETTER, "requests-dlt") is None
    assert obstacle(LETTER, "others-dlt") == "it came from topic requests, whose dead letters are not here"


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        (Selection(), True),
        (Selection(places=frozenset({LetterPosition(3, 41), LetterPosition(0, 0)})), True),
        (Selection(places=frozenset()), False),
        (Selection(codes=frozenset({"out_of_memory"})), True),
        (Selection(codes=frozenset({"out_of"})), False),
        (Selection(partitions=frozenset({2})), True),
        (Selection(partitions=frozenset({3})), False),
        (Selection(since_ms=LETTER.timestamp_ms), True),
        (Selection(since_ms=LETTER.timestamp_ms + 1), False),
        (Selection(until_ms=LETTER.timestamp_ms), False),
        (Selection(until_ms=LETTER.timestamp_ms + 1), True),
        (Selection(correlation_id=b"id"), True),
        (Selection(correlation_id=b"i"), False),
        (Selection(tenant="acme"), False),
        (Selection(text="NO ROOM"), True),
        (Selection(text="out_of_memory"), False),
        (Selection(codes=frozenset({"out_of_memory"}), tenant="acme"), False),
    ],
)
def test_selection(selection, fits):
    """A letter has to fit every field that is set; an empty set of places is none, not all."""
    assert selection.matches(LETTER) == fits


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**19 - 1))
def test_places_are_read_as_they_are_written(partition, offset):
    """`partition:offset`, both ways."""
    assert LetterPosition.parse(str(LetterPosition(partition, offset))) == LetterPosition(partition, offset)


@pytest.mark.parametrize("text", ["", "3", "3:", ":4", "3:4:5", "-1:4", "a:b", "3:4\n", "٣:٤", "1" * 30 + ":0"])
def test_what_is_no_place(text):
    """It is quoted, with an example of a place."""
    with pytest.raises(ValueError, match="like 3:41"):
        LetterPosition.parse(text)
