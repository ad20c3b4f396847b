"""The table of open requests: who is in it, who leaves, and what the look-ups find."""

import time
from collections.abc import Iterable

import pytest

from pelton.pipeline.errors import Cancelled
from pelton.pipeline.offsets import OffsetTracker
from pelton.workers.open_requests import SPARE_DEADLINES, OpenRequests
from pelton.workers.requests import Delivery, Failed, Result
from tests.unit._support.single_flight import delivery

TENANT = ("pelton-tenant", b"acme")


class Sink:
    """Where results and those who leave end up."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.left: list[Delivery] = []

    async def put_all(self, items: Iterable[Result]) -> None:
        self.results += items


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def table(sink: Sink) -> OpenRequests:
    return OpenRequests(sink, sink.left.append)


def failed(one: Delivery) -> Failed:
    return Failed(one, Cancelled("by its sender"))


def named(name: bytes, *more: tuple[str, bytes], number: int = 0) -> Delivery:
    return delivery(number, headers=(("kafka_correlationId", name), *more))


def due(in_s: float, number: int = 0) -> Delivery:
    return delivery(number, headers=(("pelton-deadline", str(round((time.time() + in_s) * 1000)).encode()),))


async def test_a_request_ends_once(table, sink):
    """The first result counts; whoever ends it later, or takes its result elsewhere, finds it gone."""
    one, other = delivery(0), delivery(1)
    assert table.add(one)
    assert table.add(other)
    await table.end([failed(one), failed(one)])
    await table.end([failed(one)])
    assert [result.delivery for result in sink.results] == [one]
    assert not table.remove(one)
    assert (one in table, other in table, len(table)) == (False, True, 1)
    assert sink.left == [one], "it waits for nothing any more"


async def test_lost_partitions_leave_without_a_result(table, sink):
    """Their requests are another worker's, those that were on their way in included; others stay."""
    lost, kept = OffsetTracker(), OffsetTracker()
    ours, theirs, late = delivery(0, kept), delivery(1, lost), delivery(2, lost)
    table.add(ours)
    table.add(theirs)
    table.abandon({lost})
    assert not table.add(late)
    await table.end([failed(theirs), failed(late)])
    assert (sink.results, sink.left) == ([], [theirs])
    assert (ours in table, len(table)) == (True, 1)


def test_a_senders_id_finds_its_requests(table):
    """Of one tenant, all under the same id; not those whose id is only their place in Kafka."""
    one, again, other = named(b"a", TENANT), named(b"a", TENANT, number=1), named(b"a", number=2)
    nameless = delivery(3)
    for each in (one, again, other, nameless):
        table.add(each)
    assert table.sent_as((b"acme", b"a")) == [one, again]
    table.remove(one)
    assert table.sent_as((b"acme", b"a")) == [again]
    assert table.sent_as((b"", b"a")) == [other]
    assert table.sent_as((b"", nameless.envelope.correlation_id)) == []


def test_deadlines_are_found_when_they_have_passed(table):
    """The earliest first, each once; those of requests that have ended not at all."""
    late, later, in_time, ended = due(-1), due(-2), due(60), due(-3)
    for each in (late, in_time, later, ended):
        table.add(each)
    table.remove(ended)
    assert table.until_deadline_s() == 0
    assert table.too_late() == [later, late]
    assert table.too_late() == []
    assert 50 < table.until_deadline_s() <= 61


def test_deadlines_of_ended_requests_are_not_kept(table):
    """However far away they are."""
    for number in range(10 * SPARE_DEADLINES):
        one = due(3600, number)
        table.add(one)
        table.remove(one)
    assert len(table._deadlines) <= SPARE_DEADLINES
