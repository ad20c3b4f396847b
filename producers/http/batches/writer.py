"""One partition's writer: requests and the progress that tells of them reach Kafka together or not at all.

The transactional id belongs to the partition, so starting its producer shuts out whoever owned the partition before, a
frozen process included, and ends what that one left open. A failed transaction's outcome is unknown: the writer is
thrown away then, and what the topic says after the next one's start is what holds.
"""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.kafka import partition_writer
from pelton.producers.kafka.cluster import look_up
from pelton.producers.kafka.sender_spans import SenderSpans

OVERHEAD_BYTES = 1_024
"""What a record's headers and framing may take besides its value."""


class PartitionWriter:
    """From `start` to `stop`. After an error it must not be used again."""

    def __init__(self, kafka: KafkaSettings, topic: str, partition: int, spans: SenderSpans) -> None:
        self._kafka = kafka
        self._spans = spans
        self._place = TopicPartition(topic, partition)
        self._writer: partition_writer.PartitionWriter | None = None
        self._one_at_a_time = asyncio.Lock()
        self.max_request_bytes = 0
        """The longest body of a request that the request topic takes."""

    async def start(self) -> None:
        """Become the partition's only writer. Raises `KafkaError`, `TimeoutError`, or what looking at the topics
        raises.
        """
        requests = self._kafka.request_topics[0]
        limit = (await look_up(self._kafka, requests)).topics[requests].max_message_bytes
        self.max_request_bytes = limit - OVERHEAD_BYTES
        self._writer = partition_writer.PartitionWriter(self._kafka, self._place, None, limit, max_batch_bytes=limit)
        await self._writer.open()

    async def stop(self) -> None:
        """Does not raise. What was left open in Kafka ends with the next owner's start."""
        if self._writer is not None:
            await self._writer.close()

    async def write(self, keyed: Sequence[tuple[bytes, bytes | None]], requests: Sequence[OutgoingRecord] = ()) -> None:
        """Write records of the partition, and send `requests`, in one transaction. Raises `KafkaError`."""
        topic, partition = self._place
        records = [OutgoingRecord(topic, value, key, (), partition) for key, value in keyed]
        async with self._one_at_a_time:
            with self._spans.sent_together(requests) as traced:
                await self._publish([*traced, *records])

    async def _publish(self, records: Sequence[OutgoingRecord]) -> None:
        if self._writer is None:
            raise partition_writer.NotAMember("the writer is not started")
        try:
            await self._writer.publish(records)
        except TimeoutError as error:  # of Kafka's, unlike those of a file store: it ends this writer
            raise KafkaTimeoutError("a transaction of batches took too long") from error
