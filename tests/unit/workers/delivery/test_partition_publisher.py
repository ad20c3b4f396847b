"""Publishing for one partition against a broker that fails in every way: each reply committed exactly once."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord, Source
from pelton.workers.delivery import partition_publisher
from pelton.workers.delivery.outgoing_batches import RecordsTooLarge
from pelton.workers.delivery.partition_publisher import PartitionPublisher
from pelton.workers.delivery.transactions import TopicReplaced
from pelton.workers.requests import Delivery, Failed, OutgoingReply

PARTITION = TopicPartition("requests", 0)


class Broker:
    """What is committed, and an outlet to it whose acts succeed or fail as a script says; at its end all succeed."""

    def __init__(self, script: Iterator[str]) -> None:
        self.script = script
        self.progress: Progress | None = None
        self.published: list[OutgoingRecord] = []
        self.opened = False
        self.limit = 1_000
        self.one_by_one = False

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        await asyncio.sleep(0)
        self.one_by_one = one_by_one
        if next(self.script, "ok") != "ok":
            raise KafkaError("no coordinator")
        self.opened = True
        return self.progress

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        assert self.opened, "published through an outlet that has failed and was not opened again"
        if not await current:
            raise TopicReplaced
        outcome = next(self.script, "ok")
        self.opened = outcome == "ok"
        too_large = [record for record in records if len(record.value or b"") > self.limit]
        if too_large:
            self.opened = False
            raise RecordsTooLarge(too_large if self.one_by_one else records)
        if outcome in ("ok", "committed, but the answer was lost"):
            self.published.extend(records)
            self.progress = progress
        if outcome != "ok":
            raise (TimeoutError if outcome == "timed out" else ProducerFenced)(outcome)

    async def close(self) -> None:
        self.opened = False


def outgoing(
    tracker: OffsetTracker, offset: int, value: bytes = b"reply", fallback: bytes | None = None
) -> OutgoingReply:
    source = Source(PARTITION.topic, PARTITION.partition, offset)
    record = RequestRecord(source, None, b"", (), 0, 0)
    envelope = read_envelope(source, (), ReplyPolicy("replies"))
    reply = OutgoingRecord("replies", value, str(offset).encode(), ())
    if fallback is not None:
        reply = replace(reply, fallback=replace(reply, value=fallback))
    return OutgoingReply(
        Failed(Delivery(record, envelope, tracker, time.monotonic(), 0.0), DeadlineExceeded("late.")), (reply,)
    )


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_publisher, "RETRY_FIRST_S", 0.0)
    monkeypatch.setattr(partition_publisher, "RETRY_MAX_S", 0.0)


StartingPoint = Callable[[Progress | None], Awaitable[Progress | None]]


async def as_committed(progress: Progress | None) -> Progress | None:
    """The log is the one that the commit was for."""
    return progress


async def as_ever(_topic_id: str) -> bool:
    """No topic was made anew."""
    return True


class NoRedirects:
    """Every topic is there; what cannot be sent at all goes out as a record of its own."""

    async def around_missing(self, replies: Sequence[OutgoingReply]) -> list[OutgoingReply]:
        return list(replies)

    def last_resort(self, reply: OutgoingReply, error: Exception) -> OutgoingReply:
        record = replace(reply.records[0], value=type(error).__name__.encode())
        return replace(reply, records=(record,))


@asynccontextmanager
async def running(
    broker: Broker,
    *,
    starting_point: StartingPoint = as_committed,
    is_current: Callable[[str], Awaitable[bool]] = as_ever,
    on_published: Callable[[list[OutgoingReply]], None] = lambda _: None,
) -> AsyncIterator[tuple[PartitionPublisher, OffsetTracker]]:
    """A publisher that has taken its partition over, and its tracker; it must live until it is ended here."""
    opened = asyncio.Event()
    publisher = PartitionPublisher(
        PARTITION,
        broker,
        on_open=lambda *_: opened.set(),
        on_published=on_published,
        on_failure=lambda: None,
        starting_point=starting_point,
        is_current=is_current,
        redirects=NoRedirects(),
    )
    task = asyncio.create_task(publisher.run())
    await opened.wait()
    assert publisher.tracker is not None
    try:
        yield publisher, publisher.tracker
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run_to_the_end(
    broker: Broker, offsets: list[int], batches: list[int], starting_point: StartingPoint = as_committed
) -> tuple[list[int], PartitionPublisher]:
    """Admit all, hand them over in `offsets`' order and in batches; return what was counted as published."""
    counted: list[int] = []

    def count(all_outgoing: list[OutgoingReply]) -> None:
        counted.extend(outgoing.offset for outgoing in all_outgoing)

    async with running(broker, starting_point=starting_point, on_published=count) as (publisher, tracker):
        for offset in sorted(offsets):
            tracker.admit(offset)
        waiting = list(offsets)
        for size in [*batches, len(offsets)]:
            for offset in waiting[:size]:
                publisher.put(outgoing(tracker, offset))
            del waiting[:size]
            await asyncio.sleep(0)
        await publisher.settled()
    return counted, publisher


outcomes = st.sampled_from(["ok", "refused", "timed out", "committed, but the answer was lost"])


@settings(deadline=None, max_examples=150)
@given(st.data(), st.lists(outcomes, max_size=30), st.lists(st.integers(1, 7), max_size=8))
def test_each_reply_is_committed_exactly_once(data: st.DataObject, script: list[str], batches: list[int]) -> None:
    """However commits fail, known or unknown, every reply is in the log once and the position says so."""
    offsets = data.draw(st.permutations(range(20)))
    broker = Broker(iter(script))
    _, publisher = asyncio.run(run_to_the_end(broker, offsets, batches))
    assert Counter(record.key for record in broker.published) == Counter(str(offset).encode() for offset in range(20))
    assert broker.progress == Progress(20, 20)
    assert publisher.tracker is not None
    assert publisher.tracker.open == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(outcomes, max_size=10))
def test_a_commit_for_another_log_settles_nothing_however_often_publishing_fails(script: list[str]) -> None:
    """As after a restore: until the first commit of ours, none of what is open is taken for answered."""

    async def from_the_log(committed: Progress | None) -> Progress | None:
        return committed if committed is None or committed.horizon <= 20 else Progress(0, 0)

    broker = Broker(iter(["ok", *script]))
    broker.progress = Progress(100_000, 100_000)
    asyncio.run(run_to_the_end(broker, list(range(20)), [5, 5], from_the_log))
    assert Counter(record.key for record in broker.published) == Counter(str(offset).encode() for offset in range(20))
    assert broker.progress == Progress(20, 20)


async def test_what_another_owner_has_answered_meanwhile_is_not_answered_again() -> None:
    """Fenced, and told on taking over anew that others have answered some of it, only the rest is published."""
    broker = Broker(iter(["ok", "refused"]))
    open_again = broker.open

    async def open_after_others(*, one_by_one: bool = False) -> Progress | None:
        if broker.published == [] and broker.progress is None and opens:
            broker.progress = Progress(2, 5, (2, 4))
        opens.append(1)
        return await open_again(one_by_one=one_by_one)

    opens: list[int] = []
    broker.open = open_after_others  # type: ignore[method-assign]
    counted, _ = await run_to_the_end(broker, [0, 1, 2, 3, 4, 5], [6])
    assert sorted(int(record.key or b"") for record in broker.published) == [2, 4, 5]
    assert sorted(counted) == [2, 4, 5]


async def test_a_record_too_large_goes_in_its_smaller_form_or_not_at_all() -> None:
    """A refused record is replaced by its fallback, or dropped where it has none; its neighbours are kept."""
    broker = Broker(iter([]))
    broker.limit = 10
    async with running(broker) as (publisher, tracker):
        for offset in range(3):
            tracker.admit(offset)
        publisher.put(outgoing(tracker, 0))
        publisher.put(outgoing(tracker, 1, value=b"x" * 50, fallback=b"small"))
        publisher.put(outgoing(tracker, 2, value=b"x" * 50))
        await asyncio.wait_for(publisher.settled(), 5)
        assert [(record.key, record.value) for record in broker.published] == [(b"0", b"reply"), (b"1", b"small")]
        assert broker.progress == Progress(3, 3)
    assert not broker.opened


async def test_a_reply_that_another_owner_has_given_meanwhile_is_passed_over() -> None:
    """What was closed by a take-over and finishes only then is neither published nor an error."""
    broker = Broker(iter([]))
    async with running(broker) as (publisher, tracker):
        for offset in range(3):
            tracker.admit(offset)
        tracker.reconcile(Progress(1, 2, (1,)))
        for offset in range(3):
            publisher.put(outgoing(tracker, offset))
        await asyncio.wait_for(publisher.settled(), 5)
        assert [record.key for record in broker.published] == [b"1", b"2"]


class Choosy(Broker):
    """Raises what nobody foresaw for every transaction with a record of one value."""

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        if any(record.value == b"unspeakable" for record in records):
            self.opened = False
            raise AssertionError("Unrecognized partition")
        await super().publish(records, progress, current)


async def test_a_reply_that_cannot_be_published_is_singled_out() -> None:
    """Whatever it raises, the others are published, and it goes out in another form."""
    broker = Choosy(iter([]))
    async with running(broker) as (publisher, tracker):
        for offset in range(5):
            tracker.admit(offset)
            publisher.put(outgoing(tracker, offset, value=b"unspeakable" if offset == 2 else b"reply"))
        await asyncio.wait_for(publisher.settled(), 5)
        values = [b"reply", b"reply", b"AssertionError", b"reply", b"reply"]
        assert [record.value for record in broker.published] == values


async def test_an_answer_of_a_topic_that_is_no_more_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Committed under another topic's id it would be given again; it goes when the id is right, or with its owner."""
    monkeypatch.setattr(partition_publisher, "LOOK_S", 0.001)
    broker = Broker(iter([]))
    broker.progress = Progress(0, 0, topic_id="old")
    asked = asyncio.Event()
    current = "new"

    async def is_current(topic_id: str) -> bool:
        asked.set()
        return topic_id == current

    async with running(broker, is_current=is_current) as (publisher, tracker):
        tracker.admit(0)
        publisher.put(outgoing(tracker, 0))
        for _ in range(3):
            asked.clear()
            await asyncio.wait_for(asked.wait(), 5)
        assert broker.published == []
        current = "old"  # a broker that knew of another topic too early, or too late
        await asyncio.wait_for(publisher.settled(), 5)
        assert [record.key for record in broker.published] == [b"0"]
