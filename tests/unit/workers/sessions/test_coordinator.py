"""The session gate over a store of our making: histories in, turns out, and what becomes of both when things fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
from aiokafka import TopicPartition

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.history import History
from pelton.cache.sessions.store import Loaded, SessionStore, session_key
from pelton.pipeline.errors import Cancelled, EngineError
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.wire.contract import Lane
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, Delivery, Failed, OutgoingReply, Result
from pelton.workers.sessions import turn_writer
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sessions.fences import Fences
from tests.unit._support.turns import FakeStore, answer, delivery, outgoing, user

KEY = session_key("", "s")
PARTITION = TopicPartition("requests", 0)
LATER = 1e9
"""A moment at which everybody's patience is over."""


class Worker:
    """The gate of one worker, and stand-ins for what is around it."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.member = True
        self.results: LingerQueue[Result] = LingerQueue(100)
        self.open_requests = OpenRequests(self.results, lambda _: None)
        self.gate = SessionCoordinator(
            store=cast(SessionStore, store),
            fences=Fences(cast(SessionStore, store), "g", self._is_member),
            open_requests=self.open_requests,
            wait_s=1.0,
            most_waiting=8,
        )
        self.opened: list[tuple[Delivery, History]] = []
        self.passed: list[OutgoingReply] = []
        self.ended: list[Result] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        tasks = [asyncio.create_task(part()) for part in (self._prepare, self.gate.write, self._send, self._drain)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110  # what is awaited has no event of its own
                await asyncio.sleep(0.001)

    async def nothing_more(self) -> None:
        """Time for what must not happen."""
        seen = (len(self.opened), len(self.passed), len(self.ended))
        await asyncio.sleep(0.03)
        assert (len(self.opened), len(self.passed), len(self.ended)) == seen

    def enter(self, one: Delivery) -> None:
        self.open_requests.add(one)
        self.gate.enter(one)

    async def open(self, one: Delivery) -> History:
        """Let a request in and wait until it goes on; its history."""
        self.enter(one)
        await self.until(lambda: any(opened is one for opened, _ in self.opened))
        return self.opened[-1][1]

    def answer(self, one: Delivery, text: str) -> OutgoingReply:
        """Have it answered."""
        packed = outgoing(one, text)
        assert self.open_requests.remove(one)
        assert self.gate.takes(packed)
        return packed

    async def turn(self, one: Delivery, text: str = "answer") -> OutgoingReply:
        """From its arrival to the commit of its reply."""
        await self.open(one)
        packed = self.answer(one, text)
        await self.until(lambda: packed in self.passed)
        self.gate.published([packed])
        return packed

    def give_up(self, now: float = LATER) -> list[Failed]:
        refused = self.gate.give_up(now)
        self.ended += [failed for failed in refused if self.open_requests.remove(failed.delivery)]
        return refused

    async def refuse(self, one: Delivery) -> Failed:
        """It is cancelled, or too late."""
        failed = Failed(one, Cancelled("by its sender"))
        await self.open_requests.end([failed])
        return failed

    def lose(self, lost: OffsetTracker) -> None:
        self.open_requests.abandon({lost})
        self.gate.abandon({lost})

    def commit(self, ending: Result) -> None:
        self.gate.published([OutgoingReply(ending, (OutgoingRecord("replies", b"error", b"", []),))])

    async def _is_member(self) -> bool:
        return self.member

    async def _prepare(self) -> None:
        async for opened in self.gate.ready(Lane.BATCH):
            self.opened += opened
            for one, history in opened:
                self.gate.opened(one, Conversation.of(history, [user(f"q{one.record.source.offset}")]))

    async def _send(self) -> None:
        async for packed in self.gate.stored():
            self.passed.append(packed)

    async def _drain(self) -> None:
        async for results in self.results.batches():
            self.ended += results


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def worker(store: FakeStore) -> AsyncIterator[Worker]:
    async with Worker(store).running() as made:
        yield made


def said(history: History) -> list[str]:
    return [message.text for turn in history.turns for message in turn.spoken]


async def test_a_turn_is_stored_before_its_reply_and_committed_before_the_next(worker, store):
    """Nobody gets an answer that the history does not have, nor a history that lacks an answer."""
    first, second = delivery(1), delivery(2)
    store.on_store = lambda: worker.passed and pytest.fail("passed on before it was stored")
    await worker.open(first)
    worker.enter(second)
    packed = worker.answer(first, "one")
    await worker.until(lambda: worker.passed == [packed])
    assert said(store.history(KEY)) == ["q1", "one"]
    await worker.nothing_more()
    assert [one for one, _ in worker.opened] == [first]
    store.on_store = lambda: None
    worker.gate.published([packed])
    await worker.until(lambda: len(worker.opened) == 2)
    assert said(worker.opened[1][1]) == ["q1", "one"]


async def test_an_error_leaves_the_history_and_the_next_goes_on_when_it_is_committed(worker):
    """Refused by whatever part of the worker, it was never said."""
    await worker.turn(delivery(1), "one")
    await worker.open(delivery(2))
    failed, waiting = worker.opened[-1][0], delivery(3)
    worker.enter(waiting)
    error = Failed(failed, EngineError("broken"))
    assert not worker.gate.takes(OutgoingReply(error, ()))
    await worker.nothing_more()
    worker.commit(error)
    await worker.until(lambda: worker.opened[-1][0] is waiting)
    assert said(worker.opened[-1][1]) == ["q1", "one"]


async def test_a_record_fetched_again_gets_the_answer_it_was_given(store):
    """Stored and never committed, by this worker or one before: the same answer, without generating."""
    async with Worker(store).running() as former:
        await former.open(delivery(1))
        packed = former.answer(former.opened[0][0], "one")
        await former.until(lambda: former.passed == [packed])
    async with Worker(store).running() as successor:
        again, after = delivery(1), delivery(2)
        successor.enter(again)
        successor.enter(after)
        await successor.until(lambda: len(successor.ended) == 1)
        (ending,) = successor.ended
        assert isinstance(ending, CacheHit)
        assert (ending.delivery, ending.body) == (again, answer("one"))
        assert successor.opened == []
        reply = outgoing(again, "one")
        assert not successor.gate.takes(reply)
        successor.gate.published([reply])
        await successor.until(lambda: len(successor.opened) == 1)
        assert said(store.history(KEY)) == ["q1", "one"]


async def test_a_former_owner_can_store_nothing_until_the_broker_counts_it_in(store):
    """Frozen and thawed it is refused: what it has is another's to answer. Back in the group, it gets that answer."""
    async with Worker(store).running() as frozen, Worker(store).running() as owner:
        mine, its = delivery(1), delivery(1)
        await frozen.open(mine)
        await owner.open(its)
        frozen.member = False
        late = frozen.answer(mine, "late")
        await frozen.nothing_more()
        assert store.records == {}
        timely = owner.answer(its, "timely")
        await owner.until(lambda: owner.passed == [timely])
        frozen.member = True
        await frozen.until(lambda: len(frozen.ended) == 1)
        assert frozen.ended[0].body == answer("timely")
        assert late not in frozen.passed


async def test_a_history_that_moved_meanwhile_is_read_again(worker, store):
    """Written to from another partition, the request starts over with what is there now, and its turn comes after."""
    await worker.turn(delivery(1), "one")
    one = delivery(2)
    await worker.open(one)
    other = Conversation.of(store.history(KEY), [user("elsewhere")]).answered("requests-9-1@0", answer("also"))
    store.records[KEY] = Loaded("requests-9-1@0", other)
    worker.answer(one, "stale")
    await worker.until(lambda: len(worker.opened) == 3)
    assert said(worker.opened[-1][1]) == ["q1", "one", "elsewhere", "also"]
    packed = worker.answer(one, "fresh")
    await worker.until(lambda: worker.passed[-1:] == [packed])
    assert said(store.history(KEY)) == ["q1", "one", "elsewhere", "also", "q2", "fresh"]


async def test_a_history_that_moves_for_ever_is_given_up(worker, store):
    """Written to from elsewhere all the time, a request ends with an error instead of being generated for ever."""
    one = delivery(1)

    def move() -> None:
        store.records[KEY] = Loaded(f"elsewhere-{store.loads}", History())

    store.on_store = move
    await worker.open(one)
    while not worker.ended:
        count = len(worker.opened)
        worker.answer(one, "stale")
        await worker.until(lambda count=count: len(worker.opened) > count or bool(worker.ended))
    assert worker.ended[0].error.code == "session_unavailable"
    assert len(worker.opened) == 5


async def test_without_redis_a_request_waits_and_then_says_so(worker, store):
    """All that wait for it, behind one another, end when their time is over; what comes later waits its own."""
    await worker.turn(delivery(1), "one")
    store.away = True
    waiting = [delivery(number, fetched_at=100.0) for number in (2, 3)]
    for one in waiting:
        worker.enter(one)
    elsewhere = delivery(9, "other", fetched_at=0.0)
    worker.enter(elsewhere)
    loads = store.loads
    await worker.until(lambda: store.loads > loads + 1)
    assert worker.give_up(0.0) == []
    refused = worker.give_up()
    assert [ending.delivery for ending in refused] == [*waiting, elsewhere]
    assert {ending.error.code for ending in refused} == {"session_unavailable"}
    assert worker.give_up() == []
    store.away = False
    for ending in refused:
        worker.commit(ending)
    assert said(await worker.open(delivery(4))) == ["q1", "one"]


async def test_a_refusal_that_stays_is_not_called_passing(worker, store):
    """As of a Redis in cluster mode: sending the request again would not help."""
    await worker.turn(delivery(1), "one")
    store.away = store.refused = True
    worker.enter(delivery(2, fetched_at=100.0))
    loads = store.loads
    await worker.until(lambda: store.loads > loads + 1)
    (refused,) = worker.give_up()
    assert "will not pass by itself" in refused.error.message
    assert "again" not in refused.error.message


async def test_an_outage_shorter_than_the_wait_is_not_noticed(worker, store):
    """Away while a history is wanted, and again while its turn is to be stored, Redis only takes longer."""
    store.away = True
    one = delivery(1)
    worker.enter(one)
    await worker.nothing_more()
    store.away = False
    await worker.until(lambda: len(worker.opened) == 1)
    store.away = True
    packed = worker.answer(one, "one")
    await worker.nothing_more()
    store.away = False
    await worker.until(lambda: worker.passed == [packed])
    assert said(store.history(KEY)) == ["q1", "one"]


@pytest.mark.parametrize("commit_known", [True, False])
async def test_what_may_have_been_stored_is_withdrawn_before_the_session_goes_on(worker, store, commit_known):
    """The sender was told of an error. Stored all the same, the turn is taken back, before the next one reads."""
    await worker.turn(delivery(1), "one")
    one = delivery(2)
    await worker.open(one)
    store.forgetful = True
    worker.answer(one, "ghost")
    await worker.until(lambda: "ghost" in said(store.history(KEY)))
    store.away = True
    await worker.nothing_more()
    (refused,) = worker.give_up()
    await worker.gate.settled()
    worker.enter(after := delivery(3))
    if commit_known:
        worker.commit(refused)
    else:
        worker.gate.reconcile(PARTITION, Progress(3, 4, (3,)))
    store.forgetful = False
    await worker.nothing_more()
    store.away = False
    await worker.until(lambda: worker.opened[-1][0] is after)
    assert said(worker.opened[-1][1]) == ["q1", "one"]


async def test_a_store_that_comes_late_is_shut_out_by_the_withdrawal(worker, store):
    """Frozen, Redis carries out on thawing what was on its way: the fence raised for the withdrawal does not let it."""
    one = delivery(1)
    await worker.open(one)
    before = dict(store.fences)
    store.away = True
    tried = asyncio.Event()
    store.on_store = tried.set
    worker.answer(one, "late")
    await asyncio.wait_for(tried.wait(), 5)
    (refused,) = worker.give_up()
    worker.commit(refused)
    store.away = False
    await worker.until(lambda: store.fences != before)
    assert said(await worker.open(delivery(2))) == []


async def test_a_reply_that_its_topic_does_not_take_leaves_no_turn(worker, store):
    """Published in a smaller form, an error: the turn goes before the next one's history is read."""
    one = delivery(1)
    await worker.open(one)
    packed = worker.answer(one, "large")
    await worker.until(lambda: worker.passed == [packed])
    worker.gate.published([replace(packed, records=(OutgoingRecord("replies", b"error", b"", []),))])
    assert said(await worker.open(delivery(2))) == []
    assert store.history(KEY) == History()


async def test_a_request_cancelled_while_its_turn_is_stored_was_never_said(worker, store):
    """Its sender is told that it was cancelled, so the turn is taken back."""
    one = delivery(1)
    await worker.open(one)
    store.forgetful = True
    worker.answer(one, "unwanted")
    await worker.until(lambda: "unwanted" in said(store.history(KEY)))
    store.forgetful = False
    worker.commit(Failed(one, EngineError("cancelled")))
    await worker.until(lambda: store.history(KEY) == History())
    assert worker.passed == []
    assert said(await worker.open(delivery(2))) == []


async def test_damage_ends_the_request_and_is_left_alone(worker, store):
    """It is an error each time, and never an empty history."""
    store.damaged.add(KEY)
    worker.enter(delivery(1))
    await worker.until(lambda: len(worker.ended) == 1)
    assert worker.ended[0].error.code == "session_unavailable"
    assert "damaged" in worker.ended[0].error.message
    assert worker.opened == []


async def test_lost_partitions_are_forgotten_at_every_stage(worker, store):
    """Waiting, under way or being stored: their new owner answers them. Those that are kept go on."""
    lost, kept = OffsetTracker(), OffsetTracker()
    open_one, storing = delivery(1, "a", tracker=lost), delivery(2, "b", tracker=lost)
    await worker.open(open_one)
    await worker.open(storing)
    worker.enter(delivery(3, "a", tracker=lost))
    ours = delivery(4, "a", partition=1, tracker=kept)
    worker.enter(ours)
    store.away = True
    worker.answer(storing, "one")
    worker.lose(lost)
    await worker.gate.settled()
    store.away = False
    assert not worker.gate.takes(outgoing(open_one))
    await worker.until(lambda: worker.opened[-1][0] is ours)
    assert store.records == {}
    assert worker.ended == []


async def test_a_partition_lost_while_its_turn_is_stored_is_another_workers_to_answer(worker, store):
    """The outcome comes when nobody here asks for it any more: nothing is sent."""
    lost = OffsetTracker()
    one = delivery(1, tracker=lost)
    await worker.open(one)
    store.on_store = lambda: worker.lose(lost)
    worker.answer(one, "one")
    await worker.until(lambda: said(store.history(KEY)) == ["q1", "one"])
    await worker.nothing_more()
    assert worker.passed == []


async def test_what_the_broker_says_is_answered_holds_nobody_up(worker):
    """After a commit of unknown outcome, or another owner's: its outgoing is never published, and the next goes on."""
    one, after = delivery(5), delivery(6)
    await worker.open(one)
    worker.enter(after)
    worker.enter(delivery(7))
    packed = worker.answer(one, "one")
    await worker.until(lambda: worker.passed == [packed])
    worker.gate.reconcile(TopicPartition("requests", 1), Progress(9, 9))
    worker.gate.reconcile(PARTITION, Progress(5, 8, (5, 6, 7)))
    await worker.nothing_more()
    worker.gate.reconcile(PARTITION, Progress(6, 8, (6, 7)))
    await worker.until(lambda: worker.opened[-1][0] is after)


async def test_what_ended_while_it_waited_is_passed_over(worker):
    """Cancelled behind another, its history is not read when its turn comes; the next one's is."""
    one, ended, after = delivery(1), delivery(2), delivery(3)
    await worker.open(one)
    worker.enter(ended)
    worker.enter(after)
    failed = await worker.refuse(ended)
    packed = worker.answer(one, "one")
    await worker.until(lambda: worker.passed == [packed])
    worker.gate.published([packed])
    await worker.until(lambda: worker.gate.waiting == 1)
    await worker.nothing_more()
    assert worker.opened[-1][0] is one
    worker.commit(failed)
    await worker.until(lambda: worker.opened[-1][0] is after)


async def test_an_answer_whose_turn_cannot_be_stored_leaves_its_request_open(worker, store):
    """It was answered, and is not any more: it can be cancelled as any other, and then is not told of Redis as well."""
    one = delivery(1)
    await worker.open(one)
    store.on_store = lambda: store.records.update({KEY: Loaded("elsewhere", History())})
    worker.answer(one, "stale")
    await worker.until(lambda: len(worker.opened) == 2)
    assert one in worker.open_requests
    await worker.refuse(one)
    await worker.until(lambda: len(worker.ended) == 1)
    worker.give_up()
    await worker.nothing_more()
    assert len(worker.ended) == 1


async def test_a_busy_session_stops_the_fetching_of_its_own_partition_only(worker):
    """What may wait is divided between the partitions."""
    for number in range(5):
        worker.enter(delivery(number))
    assert not worker.gate.has_room(PARTITION, 2)
    assert worker.gate.has_room(TopicPartition("requests", 1), 2)
    assert worker.gate.has_room(PARTITION, 1)
    assert worker.gate.has_room(TopicPartition("requests", 1), 100)


async def test_other_sessions_pass_by_one_that_cannot_be_stored(worker, store, monkeypatch):
    """A partition that is not confirmed as ours holds up its own sessions and nobody else's."""
    monkeypatch.setattr(turn_writer, "MAX_AT_ONCE", 1)
    stuck, free = delivery(1, "a"), delivery(2, "b", partition=1)
    await worker.open(stuck)
    await worker.open(free)
    del store.fences["pelton:fence:g:requests-0"]
    worker.member = False
    worker.answer(stuck, "one")
    await worker.nothing_more()
    packed = worker.answer(free, "two")
    await worker.until(lambda: worker.passed == [packed])
    assert said(store.history(session_key("", "b"))) == ["q2", "two"]


async def test_a_partition_lost_before_its_requests_came_in_is_forgotten_too(worker, store):
    """Were they let in, nobody would ever let them out, and a partition that came back would wait behind them."""
    lost = OffsetTracker()
    worker.lose(lost)
    worker.enter(delivery(1, tracker=lost))
    assert worker.gate.waiting == 0
    again = delivery(1, tracker=OffsetTracker())
    await worker.turn(again, "one")
    assert said(store.history(KEY)) == ["q1", "one"]


async def test_anothers_answer_that_is_published_stays_in_the_history(store):
    """The other worker died before its commit and the partition is ours again: its answer is the session's turn."""
    async with Worker(store).running() as thawed, Worker(store).running() as other:
        mine, its = delivery(1), delivery(1)
        await thawed.open(mine)
        await other.turn(its, "timely")
        thawed.answer(mine, "late")
        await thawed.until(lambda: len(thawed.ended) == 1)
        thawed.gate.published([outgoing(mine, "timely")])
        assert said(await thawed.open(delivery(2))) == ["q1", "timely"]


async def test_those_behind_a_turn_that_cannot_be_taken_back_lose_patience(worker, store):
    """The withdrawal itself waits for as long as it takes; without Redis its session is unavailable like any other."""
    one, after = delivery(1), delivery(2)
    await worker.open(one)
    packed = worker.answer(one, "large")
    await worker.until(lambda: worker.passed == [packed])
    worker.enter(after)
    store.away = True
    worker.gate.published([replace(packed, records=(OutgoingRecord("replies", b"error", b"", []),))])
    await worker.until(lambda: [refused.delivery for refused in worker.give_up()] == [after])
