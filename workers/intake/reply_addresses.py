"""Where replies go: what a sender asked for, if it is there."""

import asyncio
import logging
from dataclasses import replace

from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.errors import InvalidHeader
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import Envelope, ReplyPolicy
from pelton.workers.kafka.topics import TopicDirectory
from pelton.workers.notices import Notice
from pelton.workers.requests import Delivery

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0


class ReplyAddresses:
    """Holds the addresses that senders ask for against the topics there are."""

    def __init__(self, directory: TopicDirectory, policy: ReplyPolicy) -> None:
        self._directory = directory
        self._policy = policy
        self._trouble = Notice(log)

    def default_partition(self, requests: int) -> int | None:
        """Where replies to that partition of requests go in the default topic; None while nobody knows that topic.

        It is the one with the same number: so a transaction, which holds the replies to one request partition, touches
        one reply partition and not all of them.
        """
        partitions = self._directory.known_partitions(self._policy.default_topic)
        return None if partitions is None else requests % partitions

    async def resolved(self, envelope: Envelope) -> Envelope:
        """Make sure that the reply can be sent where the sender wants it.

        Where no partition is asked for, it is the one with the request's own number, as in the default topic. Raises
        `InvalidHeader`.
        """
        if envelope.has_address:
            return envelope
        wanted = envelope.reply_partition
        partitions = await self._partitions(envelope.reply_topic)
        if partitions is None or (wanted is not None and wanted >= partitions):  # it may have been made or grown since
            partitions = await self._partitions(envelope.reply_topic, fresh=True)
        if partitions is None:
            message = f"Header {contract.REPLY_TOPIC} names topic {envelope.reply_topic!r}, which does not exist."
            raise InvalidHeader(message, param=contract.REPLY_TOPIC)
        if envelope.reply_partition is not None and envelope.reply_partition >= partitions:
            raise InvalidHeader(
                f"Header {contract.REPLY_PARTITION} is {envelope.reply_partition}, but topic {envelope.reply_topic!r} "
                f"has partitions 0 to {partitions - 1}.",
                param=contract.REPLY_PARTITION,
            )
        if envelope.reply_partition is not None:
            return envelope
        return replace(envelope, reply_partition=envelope.source.partition % partitions)

    def by_default(self, delivery: Delivery) -> Delivery:
        """The delivery with the default address: the error cannot be sent to an address that does not exist."""
        envelope = replace(delivery.envelope, reply_topic=self._policy.default_topic, reply_partition=None)
        return replace(delivery, envelope=envelope)

    async def _partitions(self, topic: str, *, fresh: bool = False) -> int | None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            try:
                count = await self._directory.partitions(topic, fresh=fresh)
            except (KafkaError, OSError, TimeoutError) as error:
                self._trouble.say("requests wait: asking for topic %s failed, trying again: %r", topic, error)
                await asyncio.sleep(backoff.next_s())
            else:
                self._trouble.over("the broker says again which topics there are")
                return count
