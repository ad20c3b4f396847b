"""Dead letters on their way back: each request in one Kafka transaction with the note that it was sent.

The request goes onto its topic, the note onto the dead-letter topic, beside the letter and behind it, so that retention
takes the letter first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.signatures import group_secret
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.dead_letters.letters import DLT_PREFIX, DeadLetter, LetterPosition, last_values, note
from pelton.producers.errors import ReplayFailed
from pelton.producers.kafka.cluster import Topic, reaching
from pelton.producers.kafka.request_sender import LINGER_MS

TRANSACTION_TIMEOUT_MS = 15_000
"""A replay that is killed holds back those who read its topics, workers among them, for hardly longer than this."""
START_TIMEOUT_S = 30.0
_RETRY_BACKOFF_MS = 10
"""How long a transaction waits for the one before to be finished; with the default that is most of the time."""

_TAKEN_OVER = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState)

_REPLY_HEADERS = {
    *(contract.SOURCE, contract.MODEL, contract.WORKER, contract.ATTEMPT),
    *(contract.QUEUE_MS, contract.BATCH_WAIT_MS, contract.PREFILL_MS, contract.DECODE_MS, contract.PUBLISH_MS),
}


class ReplaySender:
    """Sends letters of the dead-letter topic `topic` to its request topic, whose limits `target` has.

    Once it is entered no other one for the same topic can commit anything, and nothing of theirs is left open: notes
    read from then on are all there will be. That is for the topic and not for a group: a letter must not be sent twice
    whatever group the settings name. Entering raises `BrokerUnreachable`.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, target: Topic) -> None:
        self.sent = 0
        self._kafka = kafka
        self._topic = topic
        self._target = target
        self._tenants = kafka.tenant_policy()
        self._secret = group_secret(kafka)
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            transactional_id=f"{self._topic}-replay",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=LINGER_MS,
            max_request_size=self._target.max_message_bytes,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
        )
        try:
            with reaching(self._kafka):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await start_client(self._producer)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def send(self, letters: Sequence[DeadLetter]) -> set[LetterPosition]:
        """Send all of them, or none; return those that are left out because the request topic takes none so large.

        Raises `ReplayFailed`, after which this one cannot be used any more.
        """
        try:
            async with self._producer.transaction():
                requests = {letter.place: await self._post_request(letter) for letter in letters}
                posted = {place: future for place, future in requests.items() if future is not None}
                stored = await asyncio.gather(*posted.values())  # each one: a commit would ignore a failed send
                notes = [self._note(place, request) for place, request in zip(posted, stored, strict=True)]
                await asyncio.gather(*[await self._post(note) for note in notes])
        except KafkaError as error:
            raise self._failure(error) from error
        self.sent += len(posted)
        return requests.keys() - posted.keys()

    async def _post_request(self, letter: DeadLetter) -> asyncio.Future[Any] | None:
        request = as_request(letter, self._target.partitions)
        # Anew: one that had no id of its own has one now, which a signature of its tenant's covers.
        signed = replace(request, headers=self._tenants.signed("request", request.headers, request.value))
        try:
            return await self._post(signed)
        except MessageSizeTooLargeError:  # raised before anything is sent: the transaction stays valid
            return None

    async def _post(self, record: OutgoingRecord) -> asyncio.Future[Any]:
        headers = list(record.headers)
        future: asyncio.Future[Any] = await self._producer.send(
            record.topic, record.value, record.key, record.partition, headers=headers
        )
        return future

    def _note(self, letter: LetterPosition, request: Any) -> OutgoingRecord:
        """Its key is like no letter's, so that where the topic is compacted it takes none away."""
        key, headers = note(letter, f"{request.topic}-{request.partition}-{request.offset}", self._secret)
        return OutgoingRecord(self._topic, None, key, headers, letter.partition)

    def _failure(self, error: KafkaError) -> ReplayFailed:
        kept = f"Letters replayed until then, and noted: {self.sent:,}. Replay again for the rest."
        # Fenced between two batches, aiokafka's sender ends, and fails what waits with a KafkaError of no further kind.
        if isinstance(error, _TAKEN_OVER) or isinstance(error.__cause__, _TAKEN_OVER) or type(error) is KafkaError:
            return ReplayFailed(
                f"Another replay of topic {self._topic} has started, or this one stood still for more than "
                f"{TRANSACTION_TIMEOUT_MS // 1000} s: Kafka ended this one. {kept}"
            )
        return ReplayFailed(f"Kafka did not take replayed letters of topic {self._topic}: {error!r}. {kept}")

    async def _stop(self) -> None:
        await stop_producer(self._producer)  # all that matters is committed, or never will be


def as_request(letter: DeadLetter, partitions: int) -> OutgoingRecord:
    """The request as it was, for the partition it was on (if the topic, with `partitions`, still has that).

    A request that went by its place has that as its correlation id now: its sender knows no other. One with neither key
    nor value gets its place as key, because aiokafka sends no such record. Raises `ValueError` without an origin.
    """
    origin = letter.origin
    if origin is None:
        raise ValueError(f"letter {letter.place} does not tell its origin")
    headers = [(name, value) for name, value in letter.headers if _is_the_requests(name)]
    given = last_values(headers)
    if not (given.get(contract.CORRELATION_ID) or given.get(contract.CORRELATION_ID_ALIAS)):
        headers.append((contract.CORRELATION_ID, letter.correlation_id))
    key = str(origin).encode() if letter.key is None and letter.value is None else letter.key
    partition = origin.partition if 0 <= origin.partition < partitions else None
    return OutgoingRecord(origin.topic, letter.value, key, headers, partition)


def _is_the_requests(header: str) -> bool:
    return not header.startswith(DLT_PREFIX) and header not in _REPLY_HEADERS
