"""A worker in this process, on topics of its own, and a foreign client that knows nothing but the topics."""

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.workers import served_model
from pelton.workers.engine.api import EngineRequest
from pelton.workers.engine.simulated.text import decode_tokens
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.worker import Worker
from tests.faulty.engine import FaultyEngine
from tests.integration.kept_spans import Kept

FAST = {"ttft_ms": 0, "itl_ms": 0, "itl_ms_per_row": 0}


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's settings, on topics that no other test uses."""

    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def bootstrap(self) -> str:
        return self.settings.kafka.bootstrap_servers

    @property
    def requests(self) -> str:
        return self.settings.kafka.request_topics[0]

    @property
    def replies(self) -> str:
        return self.settings.kafka.reply_topic

    @property
    def dead_letters(self) -> str:
        return f"{self.requests}-dlt"

    @asynccontextmanager
    async def worker(self, traces: Traces | None = None) -> AsyncIterator[Lifecycle]:
        """A worker, ready; drained at the end."""
        ready = asyncio.Event()
        lifecycle = Lifecycle(lambda state: ready.set() if state is State.READY else None)
        served = served_model.build(self.settings)
        worker = Worker(self.settings, served, lifecycle, self.metrics, traces=traces)
        running = asyncio.create_task(worker.run())
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield lifecycle
        finally:
            waiting.cancel()
            lifecycle.advance(State.DRAINING)
            await running
            served.close()


class Recorded:
    """A worker in this process whose engine notes every prompt it is given."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.generated: list[str] = []
        self.ready = asyncio.Event()
        self.lifecycle = Lifecycle(lambda state: self.ready.set() if state is State.READY else None)
        served = served_model.build(settings)
        add = served.engine.add

        def recorded(request: EngineRequest) -> None:
            self.generated.append(decode_tokens(request.prompt).removeprefix("user: "))
            add(request)

        served.engine.add = recorded  # type: ignore[method-assign]  # to look on, not to change
        self.worker = Worker(settings, served, self.lifecycle, self.metrics)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Recorded"]:
        task = asyncio.create_task(self.worker.run())
        await self.ready.wait()
        try:
            yield self
        finally:
            self.lifecycle.advance(State.DRAINING)
            await task

    @property
    def partitions(self) -> set[int]:
        return {partition.partition for partition in self.worker.parts.assignment.fetchable()}


class ForeignClient:
    """Plain aiokafka: all it knows is the topics' names."""

    def __init__(self, producer: AIOKafkaProducer, bootstrap: str) -> None:
        self._producer = producer
        self._bootstrap = bootstrap

    async def send(
        self, topic: str, value: bytes | None, headers: Iterable[tuple[str, bytes]] = (), **options: Any
    ) -> tuple[int, int]:
        """Publish one record; return its partition and offset."""
        key = b"some key" if value is None else None  # aiokafka sends no record without both
        sent = await self._producer.send_and_wait(topic, value, key, headers=list(headers), **options)
        return sent.partition, sent.offset

    async def send_keyed(
        self, topic: str, value: bytes, headers: Iterable[tuple[str, bytes]] = (), key: bytes | None = None
    ) -> None:
        """Publish one record with a key."""
        await self._producer.send_and_wait(topic, value, key, headers=list(headers))

    async def send_many(self, topic: str, values: Iterable[bytes], headers: Iterable[tuple[str, bytes]] = ()) -> None:
        pending = [
            await self._producer.send(topic, value, headers=[("kafka_correlationId", str(index).encode()), *headers])
            for index, value in enumerate(values)
        ]
        await asyncio.gather(*pending)

    async def read(self, topic: str, count: int, timeout_s: float = 20.0) -> list[ConsumerRecord]:
        """The first `count` records of a topic, and any that come with them."""
        async with self._reader(topic) as reader, asyncio.timeout(timeout_s):
            found: list[ConsumerRecord] = []
            while len(found) < count:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    found.extend(records)
            return found

    async def read_all(self, topic: str) -> list[ConsumerRecord]:
        """Every committed record that the topic holds now. Transaction markers take offsets too: none is counted."""
        async with self._reader(topic) as reader:
            ends = await reader.end_offsets([TopicPartition(topic, p) for p in reader.partitions_for_topic(topic)])
            found: list[ConsumerRecord] = []
            while [partition for partition, end in ends.items() if await reader.position(partition) < end]:
                for records in (await reader.getmany(timeout_ms=200)).values():
                    found.extend(records)
            return found

    @asynccontextmanager
    async def _reader(self, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await reader.start()
        try:
            yield reader
        finally:
            await reader.stop()


def chat(content: str = "hello", **fields: Any) -> bytes:
    return orjson.dumps({"model": "default", "messages": [{"role": "user", "content": content}], **fields})


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Collect what aiokafka leaves behind: futures with errors that nobody read.

    Collected in the middle of a later `ast.parse`, their report would parse again inside it, which Python 3.11 answers
    with a SystemError.
    """
    yield
    gc.collect()


@pytest.fixture
def faulty_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process serve an engine that marked requests break: see `tests/faulty/engine.py`."""
    monkeypatch.setattr(served_model, "SimulatedEngine", FaultyEngine)


@pytest.fixture
def chat_body() -> Callable[..., bytes]:
    """A valid chat-completions body."""
    return chat


@pytest.fixture
async def client(kafka_bootstrap: str) -> AsyncIterator[ForeignClient]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=2_000_000)
    await producer.start()
    yield ForeignClient(producer, kafka_bootstrap)
    await producer.stop()


@pytest.fixture
async def admin(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    made = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def recorded() -> type[Recorded]:
    """Makes a worker in this process that notes what it generates: `async with recorded(at.settings).running()`."""
    return Recorded


Section = dict[str, Any] | None
MakePlace = Callable[..., AbstractAsyncContextManager[Place]]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Spans of this test."""
    found = Kept()
    yield found
    found.provider.shutdown()


@pytest.fixture
async def place(kafka_bootstrap: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes a `Place` with its topics created: `await place(partitions=3, engine={...}, worker={...})`."""
    made: list[Place] = []

    async def make(
        *,
        partitions: int = 2,
        simulated: Section = None,
        engine: Section = None,
        kafka: Section = None,
        **other: Section,
    ) -> Place:
        name = uuid.uuid4().hex[:8]
        rest: dict[str, Any] = {section: chosen or {} for section, chosen in other.items()}
        settings = Settings(
            kafka={
                "bootstrap_servers": kafka_bootstrap,
                "group_id": f"group-{name}",
                "request_topics": (f"requests-{name}",),
                "reply_topic": f"replies-{name}",
                "cancels_topic": f"cancels-{name}",
                "create_topics": True,
                "partitions": partitions,
                "session_timeout_ms": 6_000,
                **(kafka or {}),
            },
            engine={"kind": "simulated", "simulated": {**FAST, **(simulated or {})}, **(engine or {})},
            **rest,
        )
        await ensure_topics(settings.kafka)
        made.append(Place(settings))
        return made[-1]

    yield make
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    topics = [
        topic
        for one in made
        for topic in (one.requests, one.replies, one.dead_letters, one.settings.kafka.cancels_topic)
    ]
    await admin.delete_topics(topics)
    await admin.close()
