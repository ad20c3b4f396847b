"""Who asks for a topic's id gets it as it is after the question, and many who ask cost one request."""

import asyncio
from collections.abc import Collection

import pytest

from pelton.workers.kafka.topic_identity import TopicIdentity


class Broker:
    """Answers when it is let, with what is true when the request arrives."""

    def __init__(self) -> None:
        self.ids = {"a": "1", "b": "1"}
        self.asked: list[set[str]] = []
        self.arrived = asyncio.Event()
        self.answering = asyncio.Event()
        self.broken = False

    async def ask(self, topics: Collection[str]) -> dict[str, str]:
        self.asked.append(set(topics))
        answer = {topic: self.ids[topic] for topic in topics if topic in self.ids}
        self.arrived.set()
        await self.answering.wait()
        if self.broken:
            raise OSError("no broker")
        return answer


async def test_an_answer_is_never_older_than_the_question() -> None:
    """Two more who ask while a request is under way share one that begins after it."""
    broker = Broker()
    identity = TopicIdentity(broker.ask)
    first = asyncio.create_task(identity.now("a"))
    await broker.arrived.wait()
    broker.ids["a"] = "2"
    later = [asyncio.create_task(identity.now(topic)) for topic in ("a", "b", "gone")]
    await asyncio.sleep(0)
    broker.answering.set()
    assert await first == "1"
    assert await asyncio.gather(*later) == ["2", "1", ""]
    assert broker.asked == [{"a"}, {"a", "b", "gone"}]


async def test_who_gives_up_ends_it_for_nobody_else() -> None:
    """An error reaches everybody who waits, and the next question is asked anew."""
    broker = Broker()
    identity = TopicIdentity(broker.ask)
    impatient, patient = (asyncio.create_task(identity.now("a")) for _ in range(2))
    await broker.arrived.wait()
    impatient.cancel()
    broker.broken = True
    broker.answering.set()
    with pytest.raises(OSError, match="no broker"):
        await patient
    broker.broken = False
    assert await identity.now("a") == "1"


async def test_nothing_is_asked_after_the_end() -> None:
    """Who asked may be gone: what was begun for it ends before the client is closed."""
    broker = Broker()
    identity = TopicIdentity(broker.ask)
    asking = [asyncio.create_task(identity.now("a"))]
    await broker.arrived.wait()
    asking.append(asyncio.create_task(identity.now("b")))
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    closing = asyncio.create_task(identity.close())
    await asyncio.sleep(0)
    assert not closing.done()
    broker.answering.set()
    await asyncio.wait_for(closing, 5)
    asked = len(broker.asked)
    await asyncio.sleep(0)
    assert len(broker.asked) == asked == 2
