"""Whom a cancel is for."""

import time

import pytest

from pelton.pipeline.errors import TenantNotProven
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.pipeline.wire.tenants import TenantPolicy, signature
from pelton.workers.cancellation.cancel_topic import Cancels
from pelton.workers.requests import Delivery

ID, TENANT = ("kafka_correlationId", b"\x00id"), ("pelton-tenant", b"acme")


def delivery(*headers: tuple[str, bytes], sent_ms: int = 1_000) -> Delivery:
    record = RequestRecord(Source("requests", 0, 0), None, b"", headers, sent_ms, 0)
    return Delivery(record, read_envelope(record.source, headers, ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.0)


@pytest.fixture
def cancels() -> Cancels:
    return Cancels(TenantPolicy())


@pytest.mark.parametrize(
    ("headers", "key"),
    [((ID, TENANT), None), ((TENANT,), ID[1]), ((("correlation_id", ID[1]), TENANT), b"other"), ((ID, TENANT), b"x")],
)
def test_a_cancel_names_the_request_by_header_or_key(cancels, headers, key):
    """The header counts before the key; bytes are compared, not text."""
    cancels.note(headers, key, None, 2_000)
    assert cancels.covers(delivery(ID, TENANT))


def test_tenants_cannot_cancel_each_others_requests(cancels):
    """Tenant and id have to be the same, no tenant being one of its own."""
    cancels.note((ID,), None, None, 2_000)
    assert not cancels.covers(delivery(ID, TENANT))
    assert cancels.covers(delivery(ID))


def test_a_request_sent_after_the_cancel_is_a_new_one(cancels):
    """Whoever cancels and asks again under the same id means it."""
    cancels.note((ID,), None, None, 2_000)
    assert cancels.covers(delivery(ID, sent_ms=2_000))
    assert not cancels.covers(delivery(ID, sent_ms=2_001))


def test_a_request_without_an_id_of_its_own_cannot_be_cancelled(cancels):
    """Its record's place stands for one, which anybody can guess; the same id given by a sender is a sender's."""
    place = b"requests-0-0"
    cancels.note((), place, None, 2_000)
    assert not cancels.covers(delivery())
    assert cancels.covers(delivery(("kafka_correlationId", place)))


def test_a_cancel_from_the_future_holds_for_the_past_only(cancels):
    """A writer's clock does not decide which requests to come are cancelled."""
    now_ms = round(time.time() * 1000)
    cancels.note((ID,), None, None, now_ms + 3_600_000)
    assert cancels.covers(delivery(ID, sent_ms=now_ms))
    assert not cancels.covers(delivery(ID, sent_ms=now_ms + 60_000))


@pytest.mark.parametrize(
    ("headers", "key"),
    [((), None), ((), b""), ((TENANT, ("kafka_correlationId", b"")), None), ((), b"x" * 1_025)],
)
def test_a_record_that_names_nobody_is_no_cancel(cancels, headers, key):
    """And cancels nothing."""
    with pytest.raises(ValueError, match=r"names no request|1,025 bytes"):
        cancels.note(headers, key, None, 2_000)
    assert not cancels


def test_where_tenants_have_keys_a_cancel_is_signed_like_a_request():
    """A signature for a request is none for its cancel; one that names no tenant needs none."""
    key = b"the key of acme!"
    cancels = Cancels(TenantPolicy(keys={"acme": key}))
    names = dict((ID, TENANT))
    for headers in ((ID, TENANT), (ID, TENANT, ("pelton-tenant-signature", signature(key, "request", names, None)))):
        with pytest.raises(TenantNotProven):
            cancels.note(headers, None, None, 2_000)
    cancels.note((ID, TENANT, ("pelton-tenant-signature", signature(key, "cancel", names, None))), None, None, 2_000)
    assert cancels.covers(delivery(ID, TENANT))
    assert not cancels.covers(delivery(ID))
    cancels.note((ID,), None, None, 2_000)
    assert cancels.covers(delivery(ID))
