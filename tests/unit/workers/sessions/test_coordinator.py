"""The session gate over a store of our making: histories in, turns out, and what becomes of both when things fail."""

from dataclasses import replace

import pytest
from aiokafka import TopicPartition

from pelton.cache.sessions.history import History
from pelton.pipeline.errors import EngineError
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.requests import CacheHit, Failed, OutgoingReply
from tests.unit._support.turns import answer, delivery, outgoing
from tests.unit.workers.sessions._support.gate import KEY, PARTITION, Worker, said


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


async def test_a_busy_session_stops_the_fetching_of_its_own_partition_only(worker):
    """What may wait is divided between the partitions."""
    for number in range(5):
        worker.enter(delivery(number))
    assert not worker.gate.has_room(PARTITION, 2)
    assert worker.gate.has_room(TopicPartition("requests", 1), 2)
    assert worker.gate.has_room(PARTITION, 1)
    assert worker.gate.has_room(TopicPartition("requests", 1), 100)


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
