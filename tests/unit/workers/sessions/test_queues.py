"""The order inside sessions: one at a time, in the order of arrival, and never held up by another session."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.wire.contract import Lane
from pelton.workers.sessions.queues import PendingTurn, SessionQueues, TurnStage
from tests.unit._support.turns import delivery


def entered(lanes: SessionQueues, *offsets: int, session: str = "s", **options: Any) -> list[PendingTurn]:
    all_pending = [PendingTurn.of(delivery(offset, session, **options)) for offset in offsets]
    for pending in all_pending:
        lanes.enter(pending)
    return all_pending


async def due(lanes: SessionQueues, most: int = 100) -> list[PendingTurn]:
    return await asyncio.wait_for(lanes.due(most, Lane.BATCH), 1)


async def assert_none_due(lanes: SessionQueues) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lanes.due(1, Lane.BATCH), 0.01)


async def test_the_next_is_due_when_the_one_before_has_left():
    """Not when that is under way, answered, or ended: when it is committed."""
    lanes = SessionQueues()
    first, second = entered(lanes, 1, 2)
    assert await due(lanes) == [first]
    for stage in (TurnStage.OPEN, TurnStage.STORING, TurnStage.ENDED):
        lanes.move(first, stage)
        await assert_none_due(lanes)
    lanes.leave(first)
    assert await due(lanes) == [second]
    lanes.leave(second)
    await assert_none_due(lanes)
    assert lanes.all_pending() == []


async def test_sessions_do_not_wait_for_each_other():
    """Each has a lane of its own: another tenant's of the same name too."""
    lanes = SessionQueues()
    firsts = [entered(lanes, 10 * number, 10 * number + 1, session=f"s{number}")[0] for number in range(3)]
    assert await due(lanes) == firsts
    assert await due(lanes, 2) == firsts[:2]


async def test_one_that_ends_while_it_waits_is_passed_over_when_it_is_committed():
    """A missed deadline in the middle of the lane costs the others no more than its commit."""
    lanes = SessionQueues()
    first, second, third = entered(lanes, 1, 2, 3)
    lanes.move(second, TurnStage.ENDED)
    lanes.leave(first)
    await assert_none_due(lanes)
    lanes.leave(second)
    assert await due(lanes) == [third]


async def test_a_history_that_moved_is_read_again():
    """The pending keeps its place and is due once more."""
    lanes = SessionQueues()
    first, _ = entered(lanes, 1, 2)
    lanes.move(first, TurnStage.OPEN)
    lanes.move(first, TurnStage.WAITING)
    assert await due(lanes) == [first]


async def test_what_waits_is_counted_by_partition():
    """So that a busy session can be kept from filling a worker's memory, at the cost of its own partition only."""
    lanes = SessionQueues()
    first, second = entered(lanes, 1, 2)
    entered(lanes, 1, session="other", partition=1)
    assert (lanes.waiting, lanes.waiting_in(TopicPartition("requests", 0))) == (3, 2)
    lanes.move(first, TurnStage.OPEN)
    lanes.leave(second)
    assert lanes.waiting_in(TopicPartition("requests", 0)) == 0
    assert lanes.waiting_in(TopicPartition("requests", 1)) == 1
    lanes.leave(first)
    assert lanes.waiting == 1


async def test_failed_ones_queue_behind_the_others():
    """A session that cannot be read for a reason of its own does not keep the rest from being asked for."""
    lanes = SessionQueues()
    firsts = [entered(lanes, number, session=f"s{number}")[0] for number in range(3)]
    lanes.failed(firsts[0], 1.0)
    assert await due(lanes) == [*firsts[1:], firsts[0]]


async def test_patience_counts_from_the_trouble_and_from_the_arrival():
    """Who came before the trouble waits from its beginning, who came in the middle of it from then; success ends it."""
    lanes = SessionQueues()
    early, behind = entered(lanes, 1, 2, fetched_at=10.0)
    (late,) = entered(lanes, 3, fetched_at=25.0)
    lanes.failed(early, 20.0)
    lanes.failed(early, 24.0)
    assert lanes.out_of_patience(24.9, 5) == []
    assert lanes.out_of_patience(25.0, 5) == [early, behind]
    assert lanes.out_of_patience(30.0, 5) == [early, behind, late]
    lanes.move(early, TurnStage.OPEN)
    assert lanes.out_of_patience(30.0, 5) == [behind, late]
    lanes.succeeded(early)
    assert lanes.out_of_patience(99.0, 5) == []


async def test_a_record_of_a_topic_made_anew_is_another():
    """Offsets come again when a topic is deleted and created; the record's time tells the two apart."""
    one = PendingTurn.of(delivery(7))
    assert one.record == "requests-0-7@1007"


STEPS = st.lists(st.tuples(st.sampled_from(["enter", "open", "end", "leave"]), st.integers(0, 2), st.integers(0, 9)))


@given(STEPS)
def test_whatever_happens_each_session_goes_forward_in_order(steps):
    """At most one pending of a session is under way, it is the oldest, and whoever is the oldest and waits is due."""

    async def play() -> None:
        lanes = SessionQueues()
        rows: dict[str, list[PendingTurn]] = {f"s{number}": [] for number in range(3)}
        for number, (step, session, at) in enumerate(steps):
            row = rows[f"s{session}"]
            if step == "enter":
                row += entered(lanes, number, session=f"s{session}")
            elif step == "open":
                for pending in [pending for pending in row if lanes.is_due(pending)]:
                    lanes.move(pending, TurnStage.OPEN)
            elif row:
                pending = row[at % len(row)]
                if step == "end":
                    lanes.move(pending, TurnStage.ENDED)
                else:
                    row.remove(pending)
                    lanes.leave(pending)
            for row in rows.values():
                assert [pending for pending in row if pending.stage is TurnStage.OPEN] in ([], row[:1])
                assert [pending for pending in row if lanes.is_due(pending)] == [
                    pending for pending in row[:1] if pending.stage is TurnStage.WAITING
                ]
        assert lanes.waiting == sum(pending.stage is TurnStage.WAITING for row in rows.values() for pending in row)

    asyncio.run(play())
