"""Single-flight inside a worker: who waits for what, and what becomes of a generation when one of them leaves."""

import asyncio
from dataclasses import replace

import pytest

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, CacheKeys, Duplicate, PreparedRequest
from pelton.workers.sharing.generation import Generation, Lease
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.flights import BODY, URGENT, VALUE, job, returning


@pytest.fixture
def flights() -> SingleFlight:
    return SingleFlight(max_waiting=100)


def joined(flights: SingleFlight, *jobs: PreparedRequest) -> Generation:
    """The one generation of these."""
    first, *others = [flights.join(one) for one in jobs]
    assert first is not None
    assert others == [None] * len(others)
    return first


async def test_equal_requests_wait_for_one_generation(flights):
    """One goes into the queue; when it is answered all of them are, and the next one begins anew."""
    jobs = [job(number) for number in range(4)]
    one = joined(flights, *jobs)
    assert flights.waiting == 3
    assert flights.finish(one) == jobs
    assert (flights.waiting, one.wanted) == (0, False)
    assert flights.join(job()) is not None


@pytest.mark.parametrize("keys", [CacheKeys(), CacheKeys("answer", fresh=True)])
async def test_what_shares_nothing_is_generated_alone(flights, keys):
    """Requests whose answers cannot be found again, and those that want a fresh one, neither join nor are joined."""
    assert all(flights.join(job(number, keys)) is not None for number in range(2))
    assert flights.join(job(2)) is not None


async def test_a_generation_belongs_to_none_of_its_requests(flights):
    """Whoever leaves, who began it included, it goes on for the rest; when the last has left it is unwanted."""
    jobs = [job(number) for number in range(3)]
    one = joined(flights, *jobs)
    for left, next_ in ((jobs[0], jobs[1]), (jobs[2], jobs[1])):
        flights.leave(left.ticket)
        assert one.wanted
        assert one.first is next_.ticket
    assert flights.get("answer") is one
    assert await returning(flights) == [], "nothing begins anew"
    flights.leave(jobs[1].ticket)
    assert not one.wanted
    assert flights.get("answer") is None
    assert [flights.left.get_nowait() for _ in range(flights.left.qsize())] == [one, one]


async def test_who_comes_after_the_last_has_left_begins_anew(flights):
    """What ran is being ended: it cannot be joined any more, nor does its end touch what began since."""
    first, second = job(0), job(1)
    ended = joined(flights, first)
    flights.leave(first.ticket)
    anew = joined(flights, second)
    assert anew is not ended
    assert flights.finish(ended) == []
    assert flights.fail(ended, fault=True) is None
    assert flights.get("answer") is anew


async def test_an_error_is_for_who_has_waited_longest(flights):
    """The rest are generated for again; the last one's error leaves nothing behind."""
    jobs = [job(number) for number in range(3)]
    one = joined(flights, *jobs)
    for number, waits in enumerate(jobs):
        assert flights.fail(one, fault=False) is waits.ticket
        again = await returning(flights)
        assert [each.job for each in again] == jobs[number + 1 : number + 2]
        one = again[0] if again else one
    assert (flights.waiting, flights.get("answer")) == (0, None)


async def test_after_a_second_error_each_gets_a_generation_of_its_own(flights):
    """One error may be bad luck; where there are two, the others do not wait for each other's."""
    jobs = [job(number) for number in range(5)]
    one = joined(flights, *jobs)
    assert flights.fail(one, fault=True) is jobs[0].ticket
    (again,) = await returning(flights)
    assert flights.fail(again, fault=True) is jobs[1].ticket
    flights.leave(jobs[3].ticket)
    parted = await returning(flights)
    assert [each.job for each in parted] == [jobs[2], jobs[4]], "they can be cancelled on their way"
    assert flights.waiting == 0
    assert flights.finish(parted[0]) == [jobs[2]]
    assert flights.join(job(9)) is not None


async def test_a_request_sent_again_while_it_runs_gets_the_very_same_reply(flights):
    """Same sender, id and body: the first one's reply, id included. An equal request of another sender gets its own."""
    first, again, other = (job(0, CacheKeys("answer", name)) for name in ("mine", "mine", "yours"))
    one = joined(flights, first, again, other)
    assert [one.joined(each, BODY, VALUE) for each in (again, other)] == [
        Duplicate(again.ticket, VALUE),
        CacheHit(other.ticket, other.keys, BODY, CacheOutcome.JOINED),
    ]


async def test_in_a_session_a_request_sent_again_gets_an_answer_that_can_become_a_turn(flights):
    """Its like was cancelled and left no turn; the very same reply would pass by the session's history."""
    first, again = (job(0, CacheKeys("answer", "mine")) for _ in range(2))
    turn = replace(again, ticket=replace(again.ticket, envelope=replace(again.ticket.envelope, session="s")))
    one = joined(flights, first, turn)
    assert one.joined(turn, BODY, VALUE) == CacheHit(turn.ticket, again.keys, BODY, CacheOutcome.JOINED)


async def test_the_lease_is_the_generations():
    """Whoever leaves, it is kept for the rest, over an error too; it is given up with the last of them, once."""
    released = []
    flights = SingleFlight(max_waiting=100, leased=True, release=released.append)
    jobs = [job(number) for number in range(3)]
    one = joined(flights, *jobs)
    assert one.lease is Lease.WANTED
    flights.grant(one, Lease.HELD)
    flights.leave(jobs[0].ticket)
    flights.fail(one, fault=True)
    (again,) = await returning(flights)
    assert again.may_run
    assert released == []
    flights.leave(jobs[2].ticket)
    assert released == ["answer"]


@pytest.mark.parametrize("lease", [Lease.WANTED, Lease.NONE])
async def test_without_the_lease_there_is_nothing_to_give_up(lease):
    """Nobody could tell who has it, or the last request left before it was asked for."""
    released = []
    flights = SingleFlight(max_waiting=100, leased=True, release=released.append)
    one = joined(flights, job())
    flights.grant(one, lease)
    flights.finish(one)
    assert released == []


async def test_only_answers_that_others_may_find_need_a_lease():
    """A request that is equal to none but itself, sent again, is this worker's alone."""
    flights = SingleFlight(max_waiting=100, leased=True)
    assert joined(flights, job(0, CacheKeys(None, "resend"))).may_run
    assert joined(flights, job(1, CacheKeys())).may_run


async def test_what_waits_for_another_worker_goes_back_to_the_queue_once():
    """It waits on while requests join it and leave it."""
    flights = SingleFlight(max_waiting=100, leased=True)
    jobs = [job(number) for number in range(3)]
    one = joined(flights, *jobs)
    flights.park(one, now=7.0)
    assert flights.waiting == 3
    flights.leave(jobs[0].ticket)
    assert (flights.parked, one.first) == ([one], jobs[1].ticket)
    assert await returning(flights) == []
    flights.grant(one, Lease.NONE)
    assert await returning(flights) == [one]
    assert (flights.parked, one.may_run) == ([], True)


async def test_what_nobody_waits_for_does_not_go_back_to_the_queue():
    """Its last request may leave between an error and the queue."""
    flights = SingleFlight(max_waiting=100)
    jobs = [job(number) for number in range(2)]
    flights.fail(joined(flights, *jobs), fault=False)
    flights.leave(jobs[1].ticket)
    assert await returning(flights) == []
    assert flights.waiting == 0


async def test_lost_partitions_leave_as_others_do(flights):
    """Nobody begins anew for those that are still ours."""
    lost, kept = OffsetTracker(), OffsetTracker()
    jobs = [job(0, tracker=lost), job(1, tracker=kept)]
    one = joined(flights, *jobs)
    flights.leave(jobs[0].ticket)
    assert (one.first, await returning(flights)) == (jobs[1].ticket, [])


async def test_there_is_room_for_so_many_and_no_more():
    """Intake waits when too many wait for others, and goes on when one has left."""
    flights = SingleFlight(max_waiting=2)
    jobs = [job(number) for number in range(3)]
    joined(flights, *jobs)
    waiting = asyncio.create_task(flights.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    flights.leave(jobs[2].ticket)
    assert await waiting == 1


async def test_who_leaves_on_the_way_to_the_queue_makes_room():
    """Of a generation that was parted nobody waits for another any more: intake must hear when the last one leaves."""
    flights = SingleFlight(max_waiting=2)
    jobs = [job(number) for number in range(4)]
    one = joined(flights, *jobs)
    flights.fail(one, fault=True)
    (again,) = await returning(flights)
    flights.fail(again, fault=True)
    waiting = asyncio.create_task(flights.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    for left in jobs[2:]:
        flights.leave(left.ticket)
    async with asyncio.timeout(1):
        assert await waiting == 2


async def test_a_flood_of_one_lane_leaves_the_other_its_room():
    """Followers are counted by their lane, and a generation goes with the most urgent of those who wait for it."""
    flights = SingleFlight(max_waiting=2)
    one = joined(flights, *(job(number) for number in range(3)))
    assert (flights.room(0), flights.room(1), one.queued.priority) == (0, 2, 0)
    urgent = job(9, headers=URGENT)
    assert flights.join(urgent) is None
    assert one.queued.priority == 1
    # In the line it is the urgent one's now: all three of batch wait for another's.
    assert (flights.room(0), flights.room(1)) == (-1, 2)
    flights.leave(urgent.ticket)
    assert one.queued.priority == 1, "what was begun for somebody is not taken back from the others"
    flights.finish(one)
    assert (flights.room(0), flights.room(1)) == (2, 2)


async def test_the_urgent_do_not_wait_behind_others_that_return():
    """One that was parked is let in with the lane of whoever joined it meanwhile."""
    flights = SingleFlight(max_waiting=100, leased=True)
    batch, raised = joined(flights, job(0, CacheKeys("b"))), joined(flights, job(1, CacheKeys("r")))
    for each in (batch, raised):
        flights.park(each, now=0.0)
    flights.grant(batch, Lease.NONE)
    flights.grant(raised, Lease.NONE)
    urgent = asyncio.create_task(flights.next_returning(1))
    await asyncio.sleep(0)
    flights.join(job(2, CacheKeys("r"), headers=URGENT))
    async with asyncio.timeout(1):
        assert await urgent is raised
        assert await flights.next_returning(0) is batch
