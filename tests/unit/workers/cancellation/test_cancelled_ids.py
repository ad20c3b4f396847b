"""Cancelled ids are kept in bounded memory, and a flood of one tenant's pushes out nobody else's."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES
from pelton.workers.cancellation import cancelled_ids
from pelton.workers.cancellation.cancelled_ids import KEPT_S, MAX_BYTES, MAX_IDS, MAX_TENANTS, CancelledIds


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids(clock: Clock) -> CancelledIds:
    return CancelledIds(clock)


def test_a_cancel_is_found_until_its_time_is_over(ids: CancelledIds, clock: Clock) -> None:
    """And then takes no memory; one that is repeated counts from then."""
    ids.add(b"acme", b"1", 5)
    ids.add(b"acme", b"2", 6)
    clock.now = KEPT_S / 2
    ids.add(b"acme", b"1", 7)
    assert (ids.cancelled_ms(b"acme", b"1"), ids.cancelled_ms(b"acme", b"2")) == (7, 6)
    assert (ids.cancelled_ms(b"", b"1"), ids.cancelled_ms(b"acme", b"3")) == (None, None)
    clock.now = KEPT_S
    assert (ids.cancelled_ms(b"acme", b"1"), ids.cancelled_ms(b"acme", b"2")) == (7, None)
    ids.add(b"bolt", b"1", 8)
    assert len(ids) == 2


def test_an_id_longer_than_any_request_has_is_refused(ids: CancelledIds) -> None:
    ids.add(b"", b"x" * MAX_CORRELATION_ID_BYTES, 1)
    with pytest.raises(ValueError, match="1,025 bytes"):
        ids.add(b"", b"x" * (MAX_CORRELATION_ID_BYTES + 1), 1)


def test_a_flood_of_long_ids_stays_within_the_bytes(ids: CancelledIds) -> None:
    """The newest are there, and what another tenant cancelled before."""
    ids.add(b"acme", b"real", 1)
    for number in range(20_000):
        ids.add(b"flood", b"%01024d" % number, 2)
    assert ids.size <= MAX_BYTES
    assert ids.cancelled_ms(b"acme", b"real") == 1
    assert ids.cancelled_ms(b"flood", b"%01024d" % 19_999) == 2


def test_a_flood_of_short_ids_stays_within_the_count(ids: CancelledIds) -> None:
    ids.add(b"acme", b"real", 1)
    for number in range(MAX_IDS + 500):
        ids.add(b"flood", b"%d" % number, 2)
    assert len(ids) == MAX_IDS
    assert ids.cancelled_ms(b"acme", b"real") == 1


def test_a_flood_of_tenants_is_bounded(ids: CancelledIds) -> None:
    for number in range(2 * MAX_TENANTS):
        ids.add(b"%d" % number, b"id", 1)
    assert len(ids) == MAX_TENANTS


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=3), st.integers(0, 700)), max_size=80)
)
def test_the_books_are_right(cancels: list[tuple[bytes, bytes, int]]) -> None:
    """Count and size are those of what is there, however it came and went."""
    clock = Clock()
    with patch.object(cancelled_ids, "MAX_IDS", 7), patch.object(cancelled_ids, "MAX_BYTES", 1_500):
        ids = CancelledIds(clock)
        for tenant, wanted, later in cancels:
            clock.now += later
            ids.add(tenant, wanted, 1)
            assert ids.cancelled_ms(tenant, wanted) == 1
            there = [(name, one) for name, kept in ids._tenants.items() for one in kept]
            assert len(ids) == len(there) <= 7
            assert ids.size == sum(250 + len(one) for _, one in there) <= 1_500
            assert set(ids._tenants) == set(ids._sizes)
