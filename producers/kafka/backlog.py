"""What of the request topics is not answered, as the group's commits say: with workers or without.

A worker commits, beside its position, which requests above it are answered. So one long answer does not make the
thousands behind it look as if they waited, as it does in a consumer group's lag.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka.clients import close_client, start_client, stop_consumer
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.kafka.group_answers import committed_offsets
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import look_up, reaching

SPEED_S = 60.0
"""Over how long the speed is measured."""


@dataclass(frozen=True, slots=True)
class TopicBacklog:
    """Requests of a topic that are not answered, and how many have been since its log's start."""

    topic: str
    waiting: int
    answered: int


class BacklogReader:
    """Asks Kafka; between `start` and `close`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin = AIOKafkaAdminClient(**kafka.client_options())
        self._consumer = AIOKafkaConsumer(**kafka.client_options())
        self._partitions: list[TopicPartition] = []

    async def start(self) -> None:
        """Raises `BrokerUnreachable`, or `TopicMissing`."""
        with reaching(self._kafka):
            await start_client(self._admin)
            await start_client(self._consumer)

    async def close(self) -> None:
        try:
            await stop_consumer(self._consumer)
        finally:
            await close_client(self._admin)

    async def read(self) -> list[TopicBacklog]:
        """One entry for each request topic. Raises `BrokerUnreachable`, `TopicMissing`, or `BadMetadata`."""
        topics = self._kafka.request_topics
        cluster = await look_up(self._kafka, *topics)
        partitions = [TopicPartition(name, i) for name in topics for i in range(cluster.topics[name].partitions)]
        with reaching(self._kafka):
            starts = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
            commits = await self._commits(partitions)
        counts = []
        for partition in partitions:
            commit = commits[partition]
            progress = Progress.decode(commit.offset, commit.metadata) if commit.offset >= 0 else None
            counts.append((partition.topic, *_counts(starts[partition], ends[partition], progress)))
        return [_sum(name, counts) for name in topics]

    async def _commits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, OffsetAndMetadata]:
        return await ask_coordinator(partial(committed_offsets, self._admin, self._kafka.group_id, partitions))


def _counts(start: int, end: int, progress: Progress | None) -> tuple[int, int]:
    """Unanswered and answered records of a log from `start` to `end`; those no longer in it do not count."""
    if progress is None or progress.horizon > end:  # the commit is of another log, which workers read from its start
        return end - start, 0
    waiting = end - max(start, progress.horizon) + sum(offset >= start for offset in progress.open)
    return waiting, end - start - waiting


def _sum(topic: str, counts: Iterable[tuple[str, int, int]]) -> TopicBacklog:
    mine = [(waiting, answered) for name, waiting, answered in counts if name == topic]
    return TopicBacklog(topic, sum(waiting for waiting, _ in mine), sum(answered for _, answered in mine))


class Speed:
    """Requests that were answered a second, from counts read now and then. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()

    def note(self, answered: int) -> float | None:
        """The speed since the oldest count within `SPEED_S`; None at first, and where nobody answers."""
        now = self._clock()
        if self._counts and answered < self._counts[-1][1]:  # the log's start moved on, or it was made anew
            self._counts.clear()
        while self._counts and now - self._counts[0][0] > SPEED_S:
            self._counts.popleft()
        since, before = self._counts[0] if self._counts else (now, answered)
        self._counts.append((now, answered))
        return (answered - before) / (now - since) if now > since and answered > before else None
