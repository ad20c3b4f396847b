"""Where an answer and its turn part: the answer is shared at once, the reply waits for the turn."""

import asyncio
from types import SimpleNamespace

from pipeline.contract import CacheOutcome
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from pipeline.records import OutgoingRecord
from tests.unit.sessions.turns import answer, ticket
from workers.flights import Flights
from workers.jobs import Keys, Recalled, Ticket
from workers.partition_publisher import Parcel
from workers.publisher import Publisher

KEYS = Keys("answer", "resend")


class Around:
    """What the publisher tells: replies that were put, and keys under which something was kept."""

    def __init__(self, *, takes: bool) -> None:
        self.put: list[Parcel] = []
        self.kept: list[Keys] = []
        self.publisher = Publisher(
            endings=Handoff(10),
            packer=SimpleNamespace(pack=lambda endings: [self.parcel(ending.ticket) for ending in endings]),
            assignment=SimpleNamespace(publisher=lambda _: SimpleNamespace(put=self.put.append), settled=_done),
            flights=Flights(most_waiting=10),
            recall=SimpleNamespace(keep=lambda keys, *_: self.kept.append(keys)),
            sessions=SimpleNamespace(takes=lambda _: takes, settled=_done),
            metrics=Metrics(),
        )

    def parcel(self, one: Ticket) -> Parcel:
        ending = Recalled(one, KEYS, answer("yes"), CacheOutcome.MISS)
        return Parcel(ending, (OutgoingRecord("replies", answer("yes"), b"", []),), answer("yes"))

    async def publish(self, one: Ticket) -> None:
        endings = self.publisher._endings
        await endings.put_async(self.parcel(one).ending)
        running = asyncio.create_task(self.publisher.run())
        await endings.flush()
        endings.close()
        await running


async def _done() -> None: ...


async def test_a_plain_answer_is_sent_and_kept_at_once():
    """For those that ask the same, and for its sender, should the request come again."""
    around = Around(takes=False)
    plain = ticket(1, "")
    await around.publish(plain)
    assert [parcel.ending.ticket for parcel in around.put] == [plain]
    assert around.kept == [KEYS]


async def test_a_turns_answer_is_shared_at_once_and_its_reply_told_when_it_is_stored():
    """Should storing fail, the same request sent again must not be told an answer that the history does not have."""
    around = Around(takes=True)
    await around.publish(ticket(1))
    assert around.put == []
    assert around.kept == [Keys("answer")]
    around.publisher.pass_on_turn(around.parcel(ticket(1)))
    assert len(around.put) == 1
    assert around.kept[1:] == [Keys(None, "resend")]


async def test_an_answer_that_is_no_turn_any_more_is_not_told_again():
    """Its partition was lost while it was packed: the new owner must not find a reply whose turn was never stored."""
    around = Around(takes=False)
    await around.publish(ticket(1))
    assert around.kept == [Keys("answer")]
