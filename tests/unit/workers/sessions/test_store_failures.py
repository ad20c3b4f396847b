"""The session gate over a store that fails: who waits, who is told so, and what is taken back."""

import asyncio
from dataclasses import replace

import pytest

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.history import History
from pelton.cache.sessions.store import Loaded, session_key
from pelton.pipeline.offsets import Progress
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.sessions import turn_writer
from tests.unit._support.turns import answer, delivery, user
from tests.unit.workers.sessions._support.gate import KEY, PARTITION, said


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


async def test_damage_ends_the_request_and_is_left_alone(worker, store):
    """It is an error each time, and never an empty history."""
    store.damaged.add(KEY)
    worker.enter(delivery(1))
    await worker.until(lambda: len(worker.ended) == 1)
    assert worker.ended[0].error.code == "session_unavailable"
    assert "damaged" in worker.ended[0].error.message
    assert worker.opened == []


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
