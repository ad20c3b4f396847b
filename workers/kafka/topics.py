"""Topics as the broker knows them: which exist, how many partitions they have, and making those that are missing."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from cachetools import TTLCache

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.contract import dead_letter_topic

log = logging.getLogger(__name__)

DEAD_LETTER_MAX_BYTES = 2 * 1_048_588
"""Twice Kafka's default limit: a dead letter is the record as it was and the reason on top."""
_SUSPECTS_KEPT_MS = 7 * 24 * 3_600_000
"""Suspicions are withdrawn when their request is answered; this clears away what nobody answers."""
_CANCELS_KEPT_MS = 3_600_000
"""Read once, as they come."""
_BROKERS_CLOCK = {"message.timestamp.type": "LogAppendTime"}
"""Suspicions hold for requests sent before them: their writers must not choose the time."""


BELIEVED_S = 10.0
LEAST_AGE_S = 0.1
MAX_KNOWN = 1_000
"""Topics remembered: senders may name many."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A topic's partitions, None where there is no such topic, and when that was asked (`time.monotonic`)."""

    count: int | None
    asked: float


class TopicsMissing(Exception):
    """Topics the worker needs do not exist, or could not be created; the message says which and what to do."""


def needed_topics(kafka: KafkaSettings) -> list[str]:
    """Every topic that requests are read from, that replies and dead letters go to by default, suspects, cancels, and
    partial text where that is on.
    """
    dead_letters = [dead_letter_topic(topic) for topic in kafka.request_topics]
    streams = [] if kafka.stream_topic is None else [kafka.stream_topic]
    return [
        *kafka.request_topics,
        kafka.reply_topic,
        *dead_letters,
        kafka.suspects_topic,
        kafka.cancels_topic,
        *streams,
    ]


async def ensure_topics(kafka: KafkaSettings) -> None:
    """Create what is missing, where `kafka.create_topics` is set. Raises `TopicsMissing` for what is missing after."""
    directory = TopicDirectory(kafka)
    try:
        await directory.start()
        missing = [topic for topic in needed_topics(kafka) if await directory.partitions(topic) is None]
        if missing and not kafka.create_topics:
            raise TopicsMissing(
                f"Topics missing at {kafka.bootstrap_servers}: {', '.join(missing)}. "
                "Create them, or set kafka.create_topics = true."
            )
        if missing:
            await directory.create(missing)
    finally:
        await directory.close()


class TopicDirectory:
    """Answers how many partitions a topic has, from memory for a while: topics are deleted and grown at any time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin = AIOKafkaAdminClient(**kafka.client_options())
        self._known: TTLCache[str, _Known] = TTLCache(MAX_KNOWN, BELIEVED_S)

    async def start(self) -> None:
        await start_client(self._admin)

    async def close(self) -> None:
        await close_client(self._admin)

    async def partitions(self, topic: str, *, fresh: bool = False) -> int | None:
        """The topic's partition count, or None when there is no such topic. Raises `KafkaError`.

        The broker is asked again after `BELIEVED_S`; sooner, but not more than once in `LEAST_AGE_S`, where the answer
        is to be `fresh` or was that there is none.
        """
        known = self._known.get(topic)
        if known is None or ((fresh or known.count is None) and time.monotonic() - known.asked >= LEAST_AGE_S):
            known = self._known[topic] = _Known(await self._ask(topic), time.monotonic())
        return known.count

    def known_partitions(self, topic: str) -> int | None:
        """The topic's partition count, as far as it is known without asking."""
        known = self._known.get(topic)
        return None if known is None else known.count

    async def _ask(self, topic: str) -> int | None:
        (found,) = await self._admin.describe_topics([topic])
        error = for_code(found["error_code"])
        if error is UnknownTopicOrPartitionError:
            return None
        if error is not NoError:
            raise error(f"asking for topic {topic}")
        return len(found["partitions"]) or None

    async def create(self, topics: list[str]) -> None:
        """Create `topics`. One that another process made meanwhile is fine. Raises `TopicsMissing`."""
        response: Any = await self._admin.create_topics(list(map(self._new, topics)))
        for topic, code, message in response.topic_errors:
            error = for_code(code)
            if error not in (NoError, TopicAlreadyExistsError):
                raise TopicsMissing(f"Topic {topic} could not be created: {error.__name__} ({message}).")
            self._known.pop(topic, None)
        log.info("created topics %s", ", ".join(topics))

    def _new(self, topic: str) -> NewTopic:
        kafka = self._kafka
        partitions, configs = kafka.partitions, {}
        if topic == kafka.suspects_topic:
            partitions, configs = 1, {"cleanup.policy": "compact,delete", "retention.ms": str(_SUSPECTS_KEPT_MS)}
            configs |= _BROKERS_CLOCK
        elif topic == kafka.cancels_topic:
            partitions, configs = 1, {"retention.ms": str(_CANCELS_KEPT_MS)}
        elif topic == kafka.stream_topic:
            configs = {"retention.ms": str(_CANCELS_KEPT_MS)}
        elif topic in map(dead_letter_topic, kafka.request_topics):
            configs = {"max.message.bytes": str(DEAD_LETTER_MAX_BYTES)}
        return NewTopic(topic, partitions, **kafka.copies, topic_configs=configs)
