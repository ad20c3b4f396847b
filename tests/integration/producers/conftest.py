"""Topics of a test's own, and a stand-in for the worker that answers as the test wants."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pelton.pipeline.settings.kafka import KafkaSettings

PARTITIONS = 3

Answer = Callable[[ConsumerRecord], Sequence[bytes]]


def completion(content: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def echo(record: ConsumerRecord) -> Sequence[bytes]:
    return [completion("echo: " + orjson.loads(record.value)["messages"][-1]["content"])]


class StandIn:
    """Answers every request as `answer` says: with no reply, one, or several. `seen` has all requests so far.

    `outcome` becomes the header `pelton-cache` of the replies; None: they have none.
    """

    def __init__(self, kafka: KafkaSettings, answer: Answer) -> None:
        self.kafka = kafka
        self.answer = answer
        self.seen: list[ConsumerRecord] = []
        self.new = asyncio.Event()
        self.outcome: Callable[[ConsumerRecord], bytes | None] = lambda _: None

    async def run(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in records:
                    await self.reply(producer, record, self.answer(record))
                self.seen.extend(records)
                self.new.set()

    async def reply(self, producer: AIOKafkaProducer, record: ConsumerRecord, values: Sequence[bytes]) -> None:
        headers = dict(record.headers)
        outcome = self.outcome(record)
        for value in values:
            await producer.send(
                headers["kafka_replyTopic"].decode(),
                value,
                partition=int.from_bytes(headers["kafka_replyPartition"], "big"),
                headers=[
                    ("kafka_correlationId", headers["kafka_correlationId"]),
                    ("pelton-source", b"here"),
                    *([("pelton-cache", outcome)] if outcome else []),
                ],
            )

    async def wait_seen(self, count: int) -> None:
        while len(self.seen) < count:
            self.new.clear()
            await self.new.wait()


@pytest.fixture
def answer_with() -> type[Any]:
    """Ready-made behaviours of the stand-in."""

    class Answers:
        echo = staticmethod(echo)
        completion = staticmethod(completion)

    return Answers


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> AsyncIterator[KafkaSettings]:
    """Settings that name a request and a reply topic of this test's own, with 3 partitions each."""
    name = uuid.uuid4().hex[:8]
    settings = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        request_topics=(f"requests-{name}",),
        reply_topic=f"replies-{name}",
        request_timeout_ms=5_000,
    )
    topics = [*settings.request_topics, settings.reply_topic]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    yield settings
    await admin.delete_topics(topics)
    await admin.close()


@pytest.fixture
def stand_in(kafka: KafkaSettings) -> Callable[..., Any]:
    """`async with stand_in(answer) as worker:` answers the requests of `kafka`'s request topic, old and new."""

    @asynccontextmanager
    async def run(answer: Answer = echo) -> AsyncIterator[StandIn]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
        await consumer.start()
        await producer.start()
        consumer.assign([TopicPartition(kafka.request_topics[0], partition) for partition in range(PARTITIONS)])
        worker = StandIn(kafka, answer)
        task = asyncio.create_task(worker.run(consumer, producer))
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.wait([task])
            await consumer.stop()
            await producer.stop()

    return run


@pytest.fixture
def all_requests(kafka: KafkaSettings) -> Callable[[], Any]:
    """Reads every record that the request topic holds now."""

    async def read() -> list[ConsumerRecord]:
        places = [TopicPartition(kafka.request_topics[0], partition) for partition in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[ConsumerRecord] = []
            while len(found) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()

    return read
