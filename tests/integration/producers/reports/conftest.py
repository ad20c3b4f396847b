"""A job service in this process, on topics of its own, with a stand-in that answers its sections."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.service.service import serve
from pelton.producers.reports.service.topics import ensure_topics
from pelton.producers.reports.spec.model import JobSpec

PARTITIONS = 2
Answer = Callable[[str], bytes | None]


def completion(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Settings of one test's own topics, and what works on them."""

    kafka: KafkaSettings
    reports: ReportSettings
    prompts: list[str]

    def client(self) -> ReportClient:
        return ReportClient(self.kafka, self.reports)

    @asynccontextmanager
    async def service(self, traces: Traces | None = None) -> AsyncIterator[None]:
        """A job service, a member of its group; stopped at the end."""
        ready = asyncio.Event()
        running = asyncio.create_task(serve(self.kafka, self.reports, ready.set, traces))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()

    @asynccontextmanager
    async def worker(self, answer: Answer) -> AsyncIterator[None]:
        """Answers each prompt as `answer` says; None: not at all. `prompts` notes them all."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers)
        await consumer.start()
        await producer.start()
        consumer.assign([TopicPartition(self.kafka.request_topics[0], number) for number in range(PARTITIONS)])
        task = asyncio.create_task(self._answer_all(consumer, producer, answer))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await consumer.stop()
            await producer.stop()

    async def _answer_all(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, answer: Answer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    prompt = orjson.loads(record.value)["messages"][-1]["content"]
                    self.prompts.append(prompt)
                    value, headers = answer(prompt), dict(record.headers)
                    if value is not None:
                        await producer.send(
                            headers["kafka_replyTopic"].decode(),
                            value,
                            partition=int.from_bytes(headers["kafka_replyPartition"], "big"),
                            headers=[("kafka_correlationId", headers["kafka_correlationId"])],
                        )


@pytest.fixture
async def place(kafka_bootstrap: str) -> AsyncIterator[Place]:
    name = uuid.uuid4().hex[:8]
    topics = ("jobs", "results", "status", "sections", "replies", "cancels")
    reports: Any = {f"{topic}_topic": f"reports-{topic}-{name}" for topic in topics}
    made = Place(
        KafkaSettings(
            bootstrap_servers=kafka_bootstrap,
            request_topics=(f"requests-{name}",),
            cancels_topic=f"cancels-{name}",
            session_timeout_ms=6_000,
        ),
        ReportSettings(group_id=f"reports-{name}", partitions=PARTITIONS, **reports),
        [],
    )
    others = [*made.kafka.request_topics, made.kafka.cancels_topic]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in others])
    await ensure_topics(made.kafka, made.reports)
    yield made
    await admin.delete_topics([*others, *made.reports.topics()])
    await admin.close()


@pytest.fixture
def say() -> Callable[[str], bytes]:
    """A worker's reply with that text."""
    return completion


@pytest.fixture
def make_job() -> Callable[..., JobSpec]:
    """A job of two sections and one that needs both, over two sources."""

    def make(other: str = "item,2019\nA,1\nB,2\n", **fields: Any) -> JobSpec:
        prompt = "{{ section.title }}: {{ material }}{% for s in sections %} {{ s.text }}{% endfor %}"
        common = {"prompt": prompt, "figures": "off"}
        sources = [
            {"name": "table", "format": "csv", "content": "item,2019,2018\nSales,12,10\nCosts,7,6\n"},
            {"name": "other", "format": "csv", "content": other},
        ]
        sections = [
            {"id": "one", "title": "One", "sources": ["table"], **common},
            {"id": "two", "title": "Two", "sources": ["other"], **common},
            {"id": "sum", "title": "Sum", "sources": [], "needs": ["one", "two"], **common},
        ]
        given = {"id": "job", "entity": "Acme", "period": "2019", "sources": sources, "sections": sections}
        return JobSpec.model_validate({**given, **fields})

    return make
