"""aiokafka's consumer behind a sieve: one record or batch that cannot be read stops no other."""

import asyncio
import logging
from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest

from pelton.workers.kafka.sieve import PassedOver, Sieve

log = logging.getLogger(__name__)

METADATA_AGE_MS = 5_000
"""How old what is known of the topics may get: one that was deleted and made anew has its partitions again by then."""
MAX_NOTED = 1_000
_THREAD_BYTES = 65_536
"""An answer of more bytes than that is looked through on a thread."""

_Gone = tuple[TopicPartition, PassedOver]


class SiftingConsumer(AIOKafkaConsumer):
    """Gives `aiokafka` only what it can read. What stands for something else has the header `sieve.UNREADABLE`."""

    def __init__(self, *topics: str, client: dict[str, Any], **options: Any) -> None:
        """`client` is what every aiokafka client takes; `options` are the consumer's own."""
        options = {"metadata_max_age_ms": METADATA_AGE_MS} | options
        super().__init__(*topics, **client, **options)
        shared = {name: options[name] for name in ("client_id", "metadata_max_age_ms") if name in options}
        self._client = _SiftingClient(**client | shared)  # the one place where aiokafka can be reached for this
        if topics:
            self._client.set_topics(topics)


class _SiftingClient(AIOKafkaClient):
    """Answers to fetches pass through the sieve before the fetcher sees them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._noted: OrderedDict[tuple[TopicPartition, int], None] = OrderedDict()

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        response = await super().send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            await self._sift(request, response)
        return response

    async def _sift(self, request: FetchRequest, response: Any) -> None:
        offsets = {(topic, each[0]): each[1] for topic, partitions in request.topics for each in partitions}
        size = sum(len(part[-1] or b"") for _, partitions in response.topics for part in partitions)
        if size > _THREAD_BYTES:
            response.topics, gone = await asyncio.to_thread(_sifted, response.topics, offsets)
        elif size:
            response.topics, gone = _sifted(response.topics, offsets)
        else:
            return
        for partition, passed_over in gone:
            self._note(partition, passed_over)

    def _note(self, partition: TopicPartition, gone: PassedOver) -> None:
        """Once for each, however often it is fetched."""
        if (partition, gone.first) in self._noted:
            return
        self._noted[partition, gone.first] = None
        if len(self._noted) > MAX_NOTED:
            self._noted.popitem(last=False)
        log.error(
            "Offsets %d to %d of topic %s, partition %d, are passed over: the batch cannot be read, as %s. Its bytes "
            "stand in for a record at offset %d; see that its producer writes what Kafka's format allows.",
            gone.first, gone.last, partition.topic, partition.partition, gone.cause, gone.first,
        )  # fmt: skip


def _sifted(topics: Any, offsets: dict[tuple[str, int], int]) -> tuple[list[Any], list[_Gone]]:
    sieve = Sieve()
    gone: list[_Gone] = []
    sifted: list[Any] = []
    for topic, partitions in topics:
        parts: list[Any] = []
        for partition, error, high_water, *rest, records in partitions:
            readable: bytes = records
            passed_over: list[PassedOver] = []
            if records:
                readable, passed_over = sieve.sift(bytes(records), offsets[topic, partition], high_water)
            parts.append((partition, error, high_water, *rest, readable))
            gone += ((TopicPartition(topic, partition), each) for each in passed_over)
        sifted.append((topic, parts))
    return sifted, gone
