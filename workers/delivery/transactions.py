"""How one partition's replies reach Kafka together with the commit that settles them: two promises, one interface."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.outgoing_batches import BATCH_BYTES, acknowledged
from pelton.workers.kafka.group import ConsumerGroup
from pelton.workers.kafka.topics import DEAD_LETTER_MAX_BYTES

log = logging.getLogger(__name__)

TRANSACTION_RETRY_MS = 10
"""How long aiokafka waits when the broker, busy completing a transaction, refuses the first record of the next."""
CLOSE_S = 2.0


class TopicReplaced(KafkaError):
    """The request topic was made anew: nothing was committed."""


class NotAMember(KafkaError):
    """The broker does not count this worker into the group: another may own its partitions."""


class PartitionWriter(Protocol):
    """Of one partition, from `open` to `close`. After an error it must be opened again."""

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        """Become the partition's only writer; return what is committed, None where nothing was.

        With `one_by_one` no record shares a batch with another, so that a refusal is of that record and no other.
        """

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        """Publish and commit, if the topic is still the one that `progress` is of, which `current` says.

        Raises `TopicReplaced` where it is not, `RecordsTooLarge`, another `KafkaError`, `OSError` or `TimeoutError`.
        """

    async def close(self) -> None:
        """Give up writing. Does not raise."""


class _ProducerWriter(ABC):
    """What both have in common: a producer of the partition's own, replaced whenever something has failed.

    After a failed send an idempotent producer may refuse all later ones (its sequence numbers have a gap), and a
    transactional one's abort does nothing, so that the failed batch would ride on the next commit.
    """

    def __init__(self, kafka: KafkaSettings, partition: TopicPartition, group: ConsumerGroup) -> None:
        self._kafka = kafka
        self._partition = partition
        self._group = group
        self._producer: AIOKafkaProducer | None = None

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        await self.close()
        # A worker that was frozen past its session must not shut out the partition's rightful owner when it thaws.
        if not await self._group.is_member():
            raise NotAMember(f"not (yet) a member of group {self._kafka.group_id}")
        producer = self._producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            **self._options(),
            max_batch_size=1 if one_by_one else BATCH_BYTES,
            max_request_size=DEAD_LETTER_MAX_BYTES,
        )
        async with asyncio.timeout(self._limit_s):
            try:
                await start_client(producer)
            except AssertionError as error:  # aiokafka's word for a broker that is just coming back
                raise KafkaConnectionError(f"the producer did not start: {error}") from error
        return await self._group.progress(self._partition)

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        if self._producer is None:
            raise NotAMember("the outlet is not open")
        async with asyncio.timeout(self._limit_s):
            commit = OffsetAndMetadata(progress.position, progress.metadata())
            await self._publish(self._producer, records, {self._partition: commit}, current)

    async def close(self) -> None:
        """Stop the producer without aborting: the next one's start, or the coordinator's time-out, aborts for sure."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            # Its time may run out: it would wait for ever for records whose topic is gone.
            if (error := await stop_producer(producer, CLOSE_S)) is not None:
                log.debug("a producer that may be broken did not stop in order: %r", error)

    @property
    def _limit_s(self) -> float:
        return self._kafka.transaction_timeout_ms / 1000

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """The producer's."""

    @abstractmethod
    async def _publish(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutgoingRecord],
        commit: dict[TopicPartition, Any],
        current: Awaitable[bool],
    ) -> None: ...


class TransactionalWriter(_ProducerWriter):
    """Exactly once: replies, dead letters and position in one transaction, under the partition's own transactional id.

    Opening it ends whatever a former owner left open and shuts that owner out, whose epoch is stale from then on; only
    then is the position read, so it cannot change under us.
    """

    def _options(self) -> dict[str, Any]:
        topic, partition = self._partition
        return {
            "transactional_id": f"{self._kafka.group_id}-{topic}-{partition}",
            "transaction_timeout_ms": self._kafka.transaction_timeout_ms,
            "retry_backoff_ms": TRANSACTION_RETRY_MS,
        }

    async def _publish(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutgoingRecord],
        commit: dict[TopicPartition, Any],
        current: Awaitable[bool],
    ) -> None:
        await producer.begin_transaction()
        # commit_transaction() does not mind failed sends: their replies would be lost and their offsets committed.
        await acknowledged(producer, records)
        if not await current:
            await producer.abort_transaction()  # left open, it would keep readers from the reply topic
            raise TopicReplaced
        await producer.send_offsets_to_transaction(commit, self._kafka.group_id)
        await producer.commit_transaction()


class AtLeastOnceWriter(_ProducerWriter):
    """At least once, for brokers without transactions: send, wait for the acknowledgements, then commit.

    A crash or a lost membership between the two repeats answers; none is lost.
    """

    def __init__(
        self, kafka: KafkaSettings, partition: TopicPartition, group: ConsumerGroup, consumer: AIOKafkaConsumer
    ) -> None:
        super().__init__(kafka, partition, group)
        self._consumer = consumer

    def _options(self) -> dict[str, Any]:
        return {"enable_idempotence": True}

    async def _publish(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutgoingRecord],
        commit: dict[TopicPartition, Any],
        current: Awaitable[bool],
    ) -> None:
        if not await current:
            raise TopicReplaced
        await acknowledged(producer, records)
        try:
            await self._consumer.commit(commit)
        except KafkaError as error:
            log.warning("position of %s not committed, the next commit will say it: %r", self._partition, error)
