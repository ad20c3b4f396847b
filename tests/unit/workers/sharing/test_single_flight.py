"""Single-flight inside a worker: who waits for what, and what becomes of a generation when one of them leaves."""

import asyncio
from dataclasses import replace

import pytest

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, CacheKeys, Duplicate, PreparedRequest
from pelton.workers.sharing.generation import Generation, Lease
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import BODY, URGENT, VALUE, job, returning


@pytest.fixture
def single_flight() -> SingleFlight:
    return SingleFlight(max_waiting=100)


def joined(single_flight: SingleFlight, *jobs: PreparedRequest) -> Generation:
    """The one generation of these."""
    first, *others = [single_flight.join(one) for one in jobs]
    assert first is not None
    assert others == [None] * len(others)
    return first


async def test_equal_requests_wait_for_one_generation(single_flight):
    """One goes into the queue; when it is answered all of them are, and the next one begins anew."""
    jobs = [job(number) for number in range(4)]
    one = joined(single_flight, *jobs)
    assert single_flight.waiting == 3
    assert single_flight.finish(one) == jobs
    assert (single_flight.waiting, one.wanted) == (0, False)
    assert single_flight.join(job()) is not None


@pytest.mark.parametrize("keys", [CacheKeys(), CacheKeys("answer", fresh=True)])
async def test_what_shares_nothing_is_generated_alone(single_flight, keys):
    """Requests whose answers cannot be found again, and those that want a fresh one, neither join nor are joined."""
    assert all(single_flight.join(job(number, keys)) is not None for number in range(2))
    assert single_flight.join(job(2)) is not None


async def test_a_generation_belongs_to_none_of_its_requests(single_flight):
    """Whoever leaves, who began it included, it goes on for the rest; when the last has left it is unwanted."""
    jobs = [job(number) for number in range(3)]
    one = joined(single_flight, *jobs)
    for left, next_ in ((jobs[0], jobs[1]), (jobs[2], jobs[1])):
        single_flight.leave(left.delivery)
        assert one.wanted
        assert one.first is next_.delivery
    assert single_flight.get("answer") is one
    assert await returning(single_flight) == [], "nothing begins anew"
    single_flight.leave(jobs[1].delivery)
    assert not one.wanted
    assert single_flight.get("answer") is None
    assert [single_flight.left.get_nowait() for _ in range(single_flight.left.qsize())] == [one, one]


async def test_who_comes_after_the_last_has_left_begins_anew(single_flight):
    """What ran is being ended: it cannot be joined any more, nor does its end touch what began since."""
    first, second = job(0), job(1)
    ended = joined(single_flight, first)
    single_flight.leave(first.delivery)
    anew = joined(single_flight, second)
    assert anew is not ended
    assert single_flight.finish(ended) == []
    assert single_flight.fail(ended, fault=True) is None
    assert single_flight.get("answer") is anew


async def test_an_error_is_for_who_has_waited_longest(single_flight):
    """The rest are generated for again; the last one's error leaves nothing behind."""
    jobs = [job(number) for number in range(3)]
    one = joined(single_flight, *jobs)
    for number, waits in enumerate(jobs):
        assert single_flight.fail(one, fault=False) is waits.delivery
        again = await returning(single_flight)
        assert [each.job for each in again] == jobs[number + 1 : number + 2]
        one = again[0] if again else one
    assert (single_flight.waiting, single_flight.get("answer")) == (0, None)


async def test_after_a_second_error_each_gets_a_generation_of_its_own(single_flight):
    """One error may be bad luck; where there are two, the others do not wait for each other's."""
    jobs = [job(number) for number in range(5)]
    one = joined(single_flight, *jobs)
    assert single_flight.fail(one, fault=True) is jobs[0].delivery
    (again,) = await returning(single_flight)
    assert single_flight.fail(again, fault=True) is jobs[1].delivery
    single_flight.leave(jobs[3].delivery)
    parted = await returning(single_flight)
    assert [each.job for each in parted] == [jobs[2], jobs[4]], "they can be cancelled on their way"
    assert single_flight.waiting == 0
    assert single_flight.finish(parted[0]) == [jobs[2]]
    assert single_flight.join(job(9)) is not None


async def test_a_request_sent_again_while_it_runs_gets_the_very_same_reply(single_flight):
    """Same sender, id and body: the first one's reply, id included. An equal request of another sender gets its own."""
    first, again, other = (job(0, CacheKeys("answer", name)) for name in ("mine", "mine", "yours"))
    one = joined(single_flight, first, again, other)
    assert [one.joined(each, BODY, VALUE) for each in (again, other)] == [
        Duplicate(again.delivery, VALUE),
        CacheHit(other.delivery, other.keys, BODY, CacheOutcome.JOINED),
    ]


async def test_in_a_session_a_request_sent_again_gets_an_answer_that_can_become_a_turn(single_flight):
    """Its like was cancelled and left no turn; the very same reply would pass by the session's history."""
    first, again = (job(0, CacheKeys("answer", "mine")) for _ in range(2))
    turn = replace(again, delivery=replace(again.delivery, envelope=replace(again.delivery.envelope, session="s")))
    one = joined(single_flight, first, turn)
    assert one.joined(turn, BODY, VALUE) == CacheHit(turn.delivery, again.keys, BODY, CacheOutcome.JOINED)


async def test_the_lease_is_the_generations():
    """Whoever leaves, it is kept for the rest, over an error too; it is given up with the last of them, once."""
    released = []
    single_flight = SingleFlight(max_waiting=100, leased=True, release=released.append)
    jobs = [job(number) for number in range(3)]
    one = joined(single_flight, *jobs)
    assert one.lease is Lease.WANTED
    single_flight.grant(one, Lease.HELD)
    single_flight.leave(jobs[0].delivery)
    single_flight.fail(one, fault=True)
    (again,) = await returning(single_flight)
    assert again.may_run
    assert released == []
    single_flight.leave(jobs[2].delivery)
    assert released == ["answer"]


@pytest.mark.parametrize("lease", [Lease.WANTED, Lease.NONE])
async def test_without_the_lease_there_is_nothing_to_give_up(lease):
    """Nobody could tell who has it, or the last request left before it was asked for."""
    released = []
    single_flight = SingleFlight(max_waiting=100, leased=True, release=released.append)
    one = joined(single_flight, job())
    single_flight.grant(one, lease)
    single_flight.finish(one)
    assert released == []


async def test_only_answers_that_others_may_find_need_a_lease():
    """A request that is equal to none but itself, sent again, is this worker's alone."""
    single_flight = SingleFlight(max_waiting=100, leased=True)
    assert joined(single_flight, job(0, CacheKeys(None, "resend"))).may_run
    assert joined(single_flight, job(1, CacheKeys())).may_run


async def test_what_waits_for_another_worker_goes_back_to_the_queue_once():
    """It waits on while requests join it and leave it."""
    single_flight = SingleFlight(max_waiting=100, leased=True)
    jobs = [job(number) for number in range(3)]
    one = joined(single_flight, *jobs)
    single_flight.park(one, now=7.0)
    assert single_flight.waiting == 3
    single_flight.leave(jobs[0].delivery)
    assert (single_flight.parked, one.first) == ([one], jobs[1].delivery)
    assert await returning(single_flight) == []
    single_flight.grant(one, Lease.NONE)
    assert await returning(single_flight) == [one]
    assert (single_flight.parked, one.may_run) == ([], True)


async def test_what_nobody_waits_for_does_not_go_back_to_the_queue():
    """Its last request may leave between an error and the queue."""
    single_flight = SingleFlight(max_waiting=100)
    jobs = [job(number) for number in range(2)]
    single_flight.fail(joined(single_flight, *jobs), fault=False)
    single_flight.leave(jobs[1].delivery)
    assert await returning(single_flight) == []
    assert single_flight.waiting == 0


async def test_lost_partitions_leave_as_others_do(single_flight):
    """Nobody begins anew for those that are still ours."""
    lost, kept = OffsetTracker(), OffsetTracker()
    jobs = [job(0, tracker=lost), job(1, tracker=kept)]
    one = joined(single_flight, *jobs)
    single_flight.leave(jobs[0].delivery)
    assert (one.first, await returning(single_flight)) == (jobs[1].delivery, [])


async def test_there_is_room_for_so_many_and_no_more():
    """Intake waits when too many wait for others, and goes on when one has left."""
    single_flight = SingleFlight(max_waiting=2)
    jobs = [job(number) for number in range(3)]
    joined(single_flight, *jobs)
    waiting = asyncio.create_task(single_flight.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    single_flight.leave(jobs[2].delivery)
    assert await waiting == 1


async def test_who_leaves_on_the_way_to_the_queue_makes_room():
    """Of a generation that was parted nobody waits for another any more: intake must hear when the last one leaves."""
    single_flight = SingleFlight(max_waiting=2)
    jobs = [job(number) for number in range(4)]
    one = joined(single_flight, *jobs)
    single_flight.fail(one, fault=True)
    (again,) = await returning(single_flight)
    single_flight.fail(again, fault=True)
    waiting = asyncio.create_task(single_flight.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    for left in jobs[2:]:
        single_flight.leave(left.delivery)
    async with asyncio.timeout(1):
        assert await waiting == 2


async def test_a_flood_of_one_lane_leaves_the_other_its_room():
    """Followers are counted by their lane, and a generation goes with the most urgent of those who wait for it."""
    single_flight = SingleFlight(max_waiting=2)
    one = joined(single_flight, *(job(number) for number in range(3)))
    assert (single_flight.room(0), single_flight.room(1), one.queued.priority) == (0, 2, 0)
    urgent = job(9, headers=URGENT)
    assert single_flight.join(urgent) is None
    assert one.queued.priority == 1
    # In the line it is the urgent one's now: all three of batch wait for another's.
    assert (single_flight.room(0), single_flight.room(1)) == (-1, 2)
    single_flight.leave(urgent.delivery)
    assert one.queued.priority == 1, "what was begun for somebody is not taken back from the others"
    single_flight.finish(one)
    assert (single_flight.room(0), single_flight.room(1)) == (2, 2)


async def test_the_urgent_do_not_wait_behind_others_that_return():
    """One that was parked is let in with the lane of whoever joined it meanwhile."""
    single_flight = SingleFlight(max_waiting=100, leased=True)
    batch, raised = joined(single_flight, job(0, CacheKeys("b"))), joined(single_flight, job(1, CacheKeys("r")))
    for each in (batch, raised):
        single_flight.park(each, now=0.0)
    single_flight.grant(batch, Lease.NONE)
    single_flight.grant(raised, Lease.NONE)
    urgent = asyncio.create_task(single_flight.next_returning(1))
    await asyncio.sleep(0)
    single_flight.join(job(2, CacheKeys("r"), headers=URGENT))
    async with asyncio.timeout(1):
        assert await urgent is raised
        assert await single_flight.next_returning(0) is batch
