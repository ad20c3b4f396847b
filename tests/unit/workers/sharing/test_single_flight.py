"""Single-flight inside a worker: who leads, who follows, and what becomes of each when something ends."""

import asyncio
from dataclasses import replace

import pytest

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, CacheKeys, Duplicate
from pelton.workers.sharing.flight import Generation
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.flights import BODY, VALUE, place, returning, ticket_of


@pytest.fixture
def flights() -> SingleFlight:
    return SingleFlight(most_waiting=100)


def flight_of(flights: SingleFlight, key: str) -> Generation:
    found = flights.get(key)
    assert found is not None
    return found


async def test_the_first_leads_and_its_answer_is_for_all(flights):
    """Of equal requests one joins the line; the others get the same body under outcomes of their own."""
    leader, *followers = (place(number) for number in range(4))
    assert flights.board(leader)
    assert not any(flights.board(follower) for follower in followers)
    assert flights.waiting == 3
    endings = flights.landed(ticket_of(leader), VALUE, BODY)
    assert endings == [CacheHit(ticket_of(one), one.item.keys, BODY, CacheOutcome.JOINED) for one in followers]
    assert flights.waiting == 0
    assert flights.board(place()), "the flight is over: the next one leads again"


@pytest.mark.parametrize("keys", [CacheKeys(), CacheKeys("answer", fresh=True)])
async def test_what_shares_nothing_flies_alone(flights, keys):
    """Requests whose answers cannot be found again, and those that want a fresh one, neither join nor are joined."""
    assert all(flights.board(place(number, keys)) for number in range(2))
    assert flights.board(place(2))


async def test_an_error_is_for_the_leader_alone(flights):
    """The next one leads, goes to the line, and the rest follow it; the last one's error leaves nothing behind."""
    places = [place(number) for number in range(3)]
    for one in places:
        flights.board(one)
    flights.failed(ticket_of(places[0]))
    assert await returning(flights) == [places[1]]
    assert flights.landed(ticket_of(places[0]), VALUE, BODY) == [], "it leads no more"
    flights.failed(ticket_of(places[1]))
    assert await returning(flights) == [places[2]]
    flights.failed(ticket_of(places[2]))
    assert (await returning(flights), flights.waiting) == ([], 0)


async def test_after_a_second_error_all_go_on_by_themselves(flights):
    """One error may be the leader's bad luck; where there are two, the others do not wait for each other's."""
    places = [place(number) for number in range(5)]
    for one in places:
        flights.board(one)
    flights.failed(ticket_of(places[0]), fault=True)
    assert await returning(flights) == [places[1]]
    flights.failed(ticket_of(places[1]), fault=True)
    assert flights.remove_if(lambda one: one is places[3]) == [places[3]], "they can be cancelled on their way"
    assert await returning(flights) == [places[2], places[4]]
    assert flights.waiting == 0
    assert flights.landed(ticket_of(places[2]), VALUE, BODY) == []


async def test_followers_have_deadlines_of_their_own(flights):
    """Who waits too long leaves; leader and other followers do not."""
    leader, late, patient = place(0), place(1, expires=5.0), place(2, expires=9.0)
    for one in (leader, late, patient):
        flights.board(one)
    assert flights.remove_if(lambda one: one.is_expired(5.0)) == [late]
    assert [ending.ticket for ending in flights.landed(ticket_of(leader), VALUE, BODY)] == [ticket_of(patient)]


async def test_requests_of_lost_partitions_are_forgotten():
    """Followers go, a leader is followed by the next that is still ours; what nobody of ours wants is given up."""
    released = []
    flights = SingleFlight(most_waiting=100, leased=True, release=released.append)
    lost, kept = OffsetTracker(), OffsetTracker()
    places = [
        place(0, tracker=lost),
        place(1, tracker=lost),
        place(2, tracker=kept),
        place(3, CacheKeys("other"), lost),
    ]
    for one in places:
        flights.board(one)
    for key in ("answer", "other"):
        flights.clear(flight_of(flights, key), leased=True)
    flights.abandon({lost})
    assert await returning(flights) == [places[2]]
    assert (flights.get("other"), released) == (None, ["other"])
    assert flights.get("answer").leased, "the lease stays with the flight, whoever leads"


async def test_a_request_sent_again_while_it_runs_gets_the_very_same_reply(flights):
    """Same sender, id and body: the leader's reply, id included. An equal request of another sender gets its own."""
    leader, again, other = (place(0, CacheKeys("answer", name)) for name in ("mine", "mine", "yours"))
    for one in (leader, again, other):
        flights.board(one)
    assert flights.landed(ticket_of(leader), VALUE, BODY) == [
        Duplicate(ticket_of(again), VALUE),
        CacheHit(ticket_of(other), other.item.keys, BODY, CacheOutcome.JOINED),
    ]


async def test_in_a_session_a_request_sent_again_gets_an_answer_that_can_become_a_turn(flights):
    """Its like was cancelled and left no turn; the very same reply would pass by the session's history."""
    leader, again = (place(0, CacheKeys("answer", "mine")) for _ in range(2))
    turn = replace(ticket_of(again), envelope=replace(ticket_of(again).envelope, session="s"))
    flights.board(leader)
    flights.board(replace(again, item=replace(again.item, ticket=turn)))
    assert flights.landed(ticket_of(leader), VALUE, BODY) == [
        CacheHit(turn, again.item.keys, BODY, CacheOutcome.JOINED)
    ]


async def test_a_cancelled_leader_parts_from_its_flight(flights):
    """Its generation goes on for its followers; when the last of them is gone it is ended."""
    leader, follower = place(0), place(1)
    for one in (leader, follower):
        flights.board(one)
    unwanted = []
    flights.on_unwanted = unwanted.append
    assert flights.disown(lambda one: one is leader) == [ticket_of(leader)]
    assert flights.disown(lambda one: one is leader) == [], "only once"
    assert flights.disowned(ticket_of(leader))
    assert not unwanted
    flights.remove_if(lambda one: one is follower)
    assert unwanted == [ticket_of(leader)]


async def test_whoever_leads_after_a_cancelled_leader_has_a_reply_to_come(flights):
    """The parting was its predecessor's."""
    leader, follower = place(0), place(1)
    for one in (leader, follower):
        flights.board(one)
    flights.disown(lambda one: one is leader)
    flights.failed(ticket_of(leader))
    assert not flights.disowned(ticket_of(follower))


async def test_who_is_lost_on_the_way_to_the_line_does_not_join_it(flights):
    """A partition may go between one leader's failure and the next one's way back."""
    places = [place(number) for number in range(3)]
    for one in places:
        flights.board(one)
    flights.failed(ticket_of(places[0]))
    flights.abandon({ticket_of(places[1]).tracker})
    assert await returning(flights) == [places[2]]


async def test_a_leader_without_followers_is_not_parted(flights):
    """There is nobody its generation could go on for."""
    leader = place()
    flights.board(leader)
    assert flights.disown(lambda _: True) == []
    assert not flights.disowned(ticket_of(leader))


async def test_a_leader_that_needs_a_lease_may_not_run_before_it_is_cleared():
    """So do the leaders after it, until the flight as a whole is cleared."""
    flights = SingleFlight(most_waiting=100, leased=True)
    places = [place(number) for number in range(3)]
    for one in places:
        flights.board(one)
    assert not flights.may_run(ticket_of(places[0]))
    flights.failed(ticket_of(places[0]))
    assert not flights.may_run(ticket_of(places[1]))
    assert flights.may_run(ticket_of(places[0])), "nothing is kept of it"
    flights.clear(flight_of(flights, "answer"), leased=True)
    assert flights.may_run(ticket_of(places[1]))
    flights.failed(ticket_of(places[1]))
    assert flights.may_run(ticket_of(places[2]))


async def test_a_parked_leader_that_leaves_is_followed_by_the_next():
    """It waits on for the other worker's answer; back in the line it goes where its leader goes, once."""
    flights = SingleFlight(most_waiting=100, leased=True)
    places = [place(number, expires=float(number)) for number in range(3)]
    for one in places:
        flights.board(one)
    flight = flight_of(flights, "answer")
    flights.park(flight, now=7.0)
    assert flights.waiting == 3
    assert flights.remove_if(lambda one: one.is_expired(0.0)) == [places[0]]
    assert flights.parked == [flight]
    assert await returning(flights) == []
    flights.unpark(flight, alone=True)
    assert await returning(flights) == [places[1]]
    assert flights.may_run(ticket_of(places[1]))
    assert not flights.any_parked.is_set()


async def test_there_is_room_for_so_many_and_no_more():
    """Intake waits when too many follow, and goes on when one has left."""
    flights = SingleFlight(most_waiting=2)
    places = [place(number) for number in range(3)]
    for one in places:
        flights.board(one)
    waiting = asyncio.create_task(flights.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    flights.remove_if(lambda one: one is places[2])
    assert await waiting == 1


async def test_who_leaves_on_the_way_to_the_line_makes_room():
    """Of a flight that was broken up nobody follows any more: intake must hear of it when the last one leaves."""
    flights = SingleFlight(most_waiting=2)
    places = [place(number) for number in range(4)]
    for one in places:
        flights.board(one)
    for leader in places[:2]:
        flights.failed(ticket_of(leader), fault=True)
        if leader is places[0]:
            assert await returning(flights) == [places[1]]
    waiting = asyncio.create_task(flights.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert flights.remove_if(lambda _: True) == places[2:]
    async with asyncio.timeout(1):
        assert await waiting == 2
