"""All that one partition's events lead to, in one Kafka transaction with the positions of what was read.

Each partition that a service reads has a producer with a transactional id of its own. Starting it ends what a former
owner left open and shuts that owner out; only then is anything read back. After any failure the producer is given up,
never aborted: aiokafka's abort after a failed send does nothing, and the batch would ride on the next commit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.kafka.service_group import ServiceGroup

_RETRY_MS = 10
BATCH_BYTES = 262_144
NO_POSITIONS: Mapping[TopicPartition, OffsetAndMetadata] = MappingProxyType({})


class NotAMember(KafkaError):
    """The broker does not count this service into the group: another may own its partitions."""


class PartitionWriter:
    """From `open` to `close`. After an error it is of no more use."""

    def __init__(
        self,
        kafka: KafkaSettings,
        partition: TopicPartition,
        group: ServiceGroup | None,
        max_bytes: int,
        max_batch_bytes: int = BATCH_BYTES,
    ) -> None:
        """`max_bytes` is the largest record, `max_batch_bytes` what each topic takes of records together.

        Without a `group` the partition is no group's: whoever opened it last owns it, and no position is committed.
        """
        self._kafka = kafka
        self._partition = partition
        self._group = group
        self._group_id = kafka.group_id if group is None else group.group_id
        self._max_bytes = max_bytes
        self._max_batch_bytes = min(BATCH_BYTES, max_batch_bytes)
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Become the partition's only writer. Raises `KafkaError`, `OSError` or `TimeoutError`."""
        # A service that was frozen past its session must not shut out the rightful owner when it thaws.
        if self._group is not None and not await self._group.is_member():
            raise NotAMember(f"not (yet) a member of group {self._group_id}")
        producer = self._producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            transactional_id=f"{self._group_id}-{self._partition.topic}-{self._partition.partition}",
            transaction_timeout_ms=self._kafka.transaction_timeout_ms,
            retry_backoff_ms=_RETRY_MS,
            max_request_size=self._max_bytes,
            max_batch_size=self._max_batch_bytes,
        )
        async with asyncio.timeout(self._limit_s):
            try:
                await start_client(producer)
            except AssertionError as error:  # aiokafka's word for a broker that is just coming back
                raise KafkaConnectionError(f"the producer did not start: {error}") from error

    async def publish(
        self, records: Sequence[OutgoingRecord], positions: Mapping[TopicPartition, OffsetAndMetadata] = NO_POSITIONS
    ) -> None:
        """Send all and commit. Raises `KafkaError`, `OSError` or `TimeoutError`; then nothing was published."""
        if self._producer is None:
            raise NotAMember("the writer is not open")
        async with asyncio.timeout(self._limit_s):
            await self._producer.begin_transaction()
            # commit_transaction() does not mind failed sends: their records would be lost and the positions committed.
            for sent in [await _send(self._producer, record) for record in records]:
                await sent
            if positions:
                await self._producer.send_offsets_to_transaction(dict(positions), self._group_id)
            await self._producer.commit_transaction()

    async def close(self) -> None:
        """Does not raise."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await stop_producer(producer)  # it may be broken, and no longer matters

    @property
    def _limit_s(self) -> float:
        return self._kafka.transaction_timeout_ms / 1000


async def _send(producer: AIOKafkaProducer, record: OutgoingRecord) -> asyncio.Future[Any]:
    headers = list(record.headers)
    sent: asyncio.Future[Any] = await producer.send(
        record.topic, record.value, record.key, record.partition, record.timestamp_ms, headers=headers
    )
    return sent
