"""Suspicions as records: they come back as they were written, and nothing else is taken for one."""

import time
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.signatures import SIGNATURE
from pelton.pipeline.wire.records import Source
from pelton.workers.quarantine import suspects
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.suspect_records import MAX_CRASHES, MAX_RECORD_BYTES, SuspectRecords, Suspicion
from pelton.workers.quarantine.suspects import SuspectTable

TOPIC = "requests"
GROUP = SuspectRecords("group", frozenset({TOPIC}))
SIGNING = SuspectRecords("group", frozenset({TOPIC}), b"secret")
ONE = Source(TOPIC, 0, 1)

names = st.text(st.sampled_from("abc.-_0"), min_size=1, max_size=249)
sources = st.builds(Source, names, st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
blames = st.integers(1, MAX_CRASHES).flatmap(
    lambda crashes: st.builds(CrashHistory, st.just(crashes), st.integers(1, MAX_CRASHES), st.integers(0, crashes))
)


def fetched(key, value, headers=(), timestamp=1_000, timestamp_type=1):
    return SimpleNamespace(
        key=key, value=value, headers=headers, timestamp=timestamp, timestamp_type=timestamp_type, offset=0
    )


@given(st.text(max_size=255), sources, st.none() | blames, st.none() | st.binary(min_size=1))
def test_suspicions_survive_their_way_through_kafka(group_id, source, blame, secret):
    """Withdrawals too, for any group id, signed or not."""
    records = SuspectRecords(group_id, frozenset({source.topic}), secret)
    assert records.read(fetched(*records.write(source, blame))) == Suspicion(source, blame, 1_000)


@pytest.mark.parametrize("records", [GROUP, SIGNING])
@given(st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_are_refused_or_understood(records, key, value, signature):
    """Nothing but a ValueError comes of them, and nothing unsigned is believed where there is a secret."""
    try:
        suspicion = records.read(fetched(key, value, ((SIGNATURE, signature),)))
    except ValueError:
        return
    assert suspicion is None


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, value) for name in ("crashes", "together", "alone") for value in (-1, 2**40, 1.0, True, None, "1", [1])]
    + [("crashes", 0), ("together", 0), ("alone", 4)],
)
def test_numbers_out_of_range_are_refused_by_name(field, value):
    """None of them may overflow the journal or condemn by a trick."""
    key, written, headers = GROUP.write(ONE, CrashHistory(3, 2, 1))
    odd = orjson.dumps(orjson.loads(written or b"") | {field: value})
    with pytest.raises(ValueError, match=field):
        GROUP.read(fetched(key, odd, headers))


@pytest.mark.parametrize(
    "place", [("requests", -1, 0), ("requests", 2**31, 0), ("requests", 0, -1), ("requests", True, 0)]
)
def test_places_that_cannot_be_are_refused(place):
    key = orjson.dumps(["group", *place])
    with pytest.raises(ValueError, match=r"partition|offset"):
        GROUP.read(fetched(key, None))


def test_what_is_about_others_is_passed_over():
    """Another group's, and topics that this one does not read."""
    for others in (SuspectRecords("other", frozenset({TOPIC})), SuspectRecords("group", frozenset({"b"}))):
        source = Source(next(iter(others.topics)), 0, 1)
        assert GROUP.read(fetched(*others.write(source, CrashHistory(1, 1, 1)))) is None


def test_a_large_record_is_not_parsed():
    key, _, _ = GROUP.write(ONE, None)
    with pytest.raises(ValueError, match="more than"):
        GROUP.read(fetched(key, b"[" * MAX_RECORD_BYTES))


def test_a_signature_is_of_one_record_only():
    """Another's value, key or a withdrawal under it is refused."""
    key, value, headers = SIGNING.write(ONE, CrashHistory(1, 1, 1))
    other_key, other_value, _ = SIGNING.write(Source(TOPIC, 0, 2), CrashHistory(9, 1, 9))
    for forged in ((other_key, value), (key, other_value), (key, None), (key, b"")):
        with pytest.raises(ValueError, match="not signed"):
            SIGNING.read(fetched(*forged, headers))


def test_a_writer_cannot_date_a_suspicion_ahead():
    """Where the topic keeps its writers' times; the broker's own is believed."""
    ahead = round(time.time() * 1000) + 86_400_000
    written = GROUP.write(ONE, CrashHistory(1, 1, 1))
    assert GROUP.read(fetched(*written, timestamp=ahead, timestamp_type=0)).written_ms < ahead
    assert GROUP.read(fetched(*written, timestamp=ahead, timestamp_type=1)).written_ms == ahead


def test_a_suspicion_does_not_hold_for_a_request_that_was_sent_after_it():
    """Nothing condemns what was not there yet; of a withdrawn one nothing is left."""
    table = SuspectTable()
    table.set(ONE, CrashHistory(1, 1, 1), 1_000)
    assert (table.get(ONE, 1_000), table.get(ONE, 1_001)) == (CrashHistory(1, 1, 1), None)
    table.forget(ONE)
    assert table.get(ONE, 0) is None


def test_the_table_is_bounded(monkeypatch):
    """The oldest go first; what is written again is new."""
    monkeypatch.setattr(suspects, "MAX_SUSPECTS", 3)
    table = SuspectTable()
    for offset in (0, 1, 2, 0, 3):
        table.set(Source(TOPIC, 0, offset), CrashHistory(1, 1, 1), round(time.time() * 1000))
    assert [offset for offset in range(4) if table.get(Source(TOPIC, 0, offset), 0)] == [0, 2, 3]
