"""One partition's writer: requests and the progress that tells of them reach Kafka together or not at all.

The transactional id belongs to the partition, so starting its producer shuts out whoever owned the partition before, a
frozen process included, and ends what that one left open. A failed transaction's outcome is unknown: the writer is
thrown away then, and what the topic says after the next one's start is what holds.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.kafka.cluster import look_up
from pelton.producers.kafka.sender_spans import SenderSpans

OVERHEAD_BYTES = 1_024
"""What a record's headers and framing may take besides its value."""


class PartitionWriter:
    """From `start` to `stop`. After an error it must not be used again."""

    def __init__(self, kafka: KafkaSettings, topic: str, partition: int, spans: SenderSpans) -> None:
        self._kafka = kafka
        self._spans = spans
        self._topic = topic
        self._partition = partition
        self._producer: Any = None
        self._one_at_a_time = asyncio.Lock()
        self.max_request_bytes = 0
        """The longest body of a request that the request topic takes."""

    async def start(self) -> None:
        """Become the partition's only writer. Raises `KafkaError`, or what looking at the topics raises."""
        requests = self._kafka.request_topics[0]
        limit = (await look_up(self._kafka, requests)).topics[requests].max_message_bytes
        self.max_request_bytes = limit - OVERHEAD_BYTES
        self._producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            transactional_id=f"{self._kafka.group_id}-{self._topic}-{self._partition}",
            transaction_timeout_ms=self._kafka.transaction_timeout_ms,
            max_request_size=limit,
        )
        await start_client(self._producer)

    async def stop(self) -> None:
        """Does not raise. What was left open in Kafka ends with the next owner's start."""
        if self._producer is not None:
            await stop_producer(self._producer)

    async def write(self, keyed: Sequence[tuple[bytes, bytes | None]], requests: Sequence[OutgoingRecord] = ()) -> None:
        """Write records of the partition, and send `requests`, in one transaction. Raises `KafkaError`."""
        async with self._one_at_a_time:
            with self._spans.sent_together(requests) as traced:
                await self._transaction(keyed, traced)

    async def _transaction(
        self, keyed: Sequence[tuple[bytes, bytes | None]], requests: Sequence[OutgoingRecord]
    ) -> None:
        await self._producer.begin_transaction()
        sent = [await self._send(record) for record in requests]
        sent += [await self._producer.send(self._topic, value, key, partition=self._partition) for key, value in keyed]
        # Each one awaited: aiokafka commits although a send has failed.
        await asyncio.gather(*sent)
        await self._producer.commit_transaction()

    async def _send(self, record: OutgoingRecord) -> Any:
        return await self._producer.send(
            record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
        )
