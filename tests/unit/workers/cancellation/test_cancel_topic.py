"""Whom a cancel is for."""

import pytest

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.cancellation.cancel_topic import CancelledIds
from pelton.workers.requests import Delivery

ID, TENANT = ("kafka_correlationId", b"\x00id"), ("pelton-tenant", b"acme")


def ticket(*headers: tuple[str, bytes], sent_ms: int = 1_000) -> Delivery:
    record = RequestRecord(Source("requests", 0, 0), None, b"", headers, sent_ms, 0)
    return Delivery(record, read_envelope(record.source, headers, ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.0)


@pytest.fixture
def cancels() -> CancelledIds:
    return CancelledIds()


@pytest.mark.parametrize(
    ("headers", "key"),
    [((ID, TENANT), None), ((TENANT,), ID[1]), ((("correlation_id", ID[1]), TENANT), b"other"), ((ID, TENANT), b"x")],
)
def test_a_cancel_names_the_request_by_header_or_key(cancels, headers, key):
    """The header counts before the key; bytes are compared, not text."""
    assert cancels.note(headers, key, 2_000)
    assert cancels.covers(ticket(ID, TENANT))


def test_tenants_cannot_cancel_each_others_requests(cancels):
    """Tenant and id have to be the same, no tenant being one of its own."""
    cancels.note((ID,), None, 2_000)
    assert not cancels.covers(ticket(ID, TENANT))
    assert cancels.covers(ticket(ID))


def test_a_request_sent_after_the_cancel_is_a_new_one(cancels):
    """Whoever cancels and asks again under the same id means it."""
    cancels.note((ID,), None, 2_000)
    assert cancels.covers(ticket(ID, sent_ms=2_000))
    assert not cancels.covers(ticket(ID, sent_ms=2_001))


def test_a_record_can_be_cancelled_by_its_place(cancels):
    """A request without an id of its own has its record's place for one."""
    cancels.note((), b"requests-0-0", 2_000)
    assert cancels.covers(ticket())


@pytest.mark.parametrize(("headers", "key"), [((), None), ((), b""), ((TENANT, ("kafka_correlationId", b"")), None)])
def test_a_record_that_names_nobody_is_no_cancel(cancels, headers, key):
    """And cancels nothing."""
    assert not cancels.note(headers, key, 2_000)
    assert not cancels
