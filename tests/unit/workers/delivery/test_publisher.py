"""Where an answer and its turn part: the answer is shared at once, the reply waits for the turn."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.publisher import Publisher
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, OutgoingReply
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.turns import answer, delivery

KEYS = CacheKeys("answer", "resend")


def _fake(**methods: Any) -> Any:
    return SimpleNamespace(**methods)


class Around:
    """What the publisher tells: replies that were put, and keys under which something was kept."""

    def __init__(self, *, takes: bool) -> None:
        self.put: list[OutgoingReply] = []
        self.kept: list[CacheKeys] = []
        self.publisher = Publisher(
            results=LingerQueue(10),
            reply_builder=_fake(pack=lambda endings: [self.outgoing(ending.delivery) for ending in endings]),
            assignment=_fake(publisher=lambda _: SimpleNamespace(put=self.put.append), settled=_done),
            open_requests=OpenRequests(LingerQueue(10), lambda _: None),
            single_flight=SingleFlight(max_waiting=10),
            reply_cache=_fake(keep=lambda keys, *_: self.kept.append(keys)),
            sessions=_fake(takes=lambda _: takes, settled=_done, stored=self.stored),
        )

    def outgoing(self, one: Delivery) -> OutgoingReply:
        ending = CacheHit(one, KEYS, answer("yes"), CacheOutcome.MISS)
        return OutgoingReply(ending, (OutgoingRecord("replies", answer("yes"), b"", []),), answer("yes"))

    async def stored(self) -> AsyncIterator[OutgoingReply]:
        """One turn is stored."""
        yield self.outgoing(delivery(1))

    async def publish(self, one: Delivery) -> None:
        results = self.publisher._results
        await results.put_async(self.outgoing(one).ending)
        running = asyncio.create_task(self.publisher.run())
        await results.flush()
        results.close()
        await running


async def _done() -> None: ...


async def test_a_plain_answer_is_sent_and_kept_at_once():
    """For those that ask the same, and for its sender, should the request come again."""
    around = Around(takes=False)
    plain = delivery(1, "")
    await around.publish(plain)
    assert [outgoing.ending.delivery for outgoing in around.put] == [plain]
    assert around.kept == [KEYS]


async def test_a_turns_answer_is_shared_at_once_and_its_reply_told_when_it_is_stored():
    """Should storing fail, the same request sent again must not be told an answer that the history does not have."""
    around = Around(takes=True)
    await around.publish(delivery(1))
    assert around.put == []
    assert around.kept == [CacheKeys("answer")]
    await around.publisher.run_turns()
    assert len(around.put) == 1
    assert around.kept[1:] == [CacheKeys(None, "resend")]


async def test_an_answer_that_is_no_turn_any_more_is_not_told_again():
    """Its partition was lost while it was packed: the new owner must not find a reply whose turn was never stored."""
    around = Around(takes=False)
    await around.publish(delivery(1))
    assert around.kept == [CacheKeys("answer")]
