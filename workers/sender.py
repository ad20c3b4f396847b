"""Sends records until the broker has acknowledged them, whatever it takes."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.metrics import Metrics
from pipeline.records import OutgoingRecord
from pipeline.settings import KafkaSettings
from workers.topics import DEAD_LETTER_MAX_BYTES

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
BATCH_BYTES = 262_144
"""Per partition. A flush is sent at once, so it should fit: a sender that meets a full batch waits for a round trip."""


class Sender:
    """An idempotent producer that is replaced when it fails.

    After a failed send an idempotent producer may refuse all later ones (its sequence numbers have a gap), so it is not
    reused.
    """

    def __init__(self, kafka: KafkaSettings, metrics: Metrics) -> None:
        self._kafka = kafka
        self._metrics = metrics
        self._producer = self._new_producer()

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def deliver(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when every record is acknowledged. Tries for ever: an unanswered request must not be committed."""
        delay_s = RETRY_FIRST_S
        while failed := await self._attempt(records):
            self._metrics.publish_failures.inc()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MOST_S)
            await self._replace_producer()
            records = failed

    async def _attempt(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        """Send all at once; return those to send again."""
        results = await asyncio.gather(*map(self._send, records), return_exceptions=True)
        again: list[OutgoingRecord] = []
        for record, result in zip(records, results, strict=True):
            if isinstance(result, MessageSizeTooLargeError):
                again.extend(_smaller(record))
            elif isinstance(result, KafkaError | OSError):
                log.warning("sending to %s failed, trying again: %r", record.topic, result)
                again.append(record)
            elif isinstance(result, BaseException):
                raise result
        return again

    async def _send(self, record: OutgoingRecord) -> None:
        acknowledged = await self._producer.send(
            record.topic,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            partition=record.partition,
        )
        await acknowledged

    async def _replace_producer(self) -> None:
        try:
            await asyncio.wait_for(self._producer.stop(), self._kafka.request_timeout_ms / 1000)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the failed producer did not stop cleanly: %r", error)
        self._producer = self._new_producer()
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            log.warning("no producer at %s, trying again: %r", self._kafka.bootstrap_servers, error)

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._kafka.client_options(),
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            max_request_size=DEAD_LETTER_MAX_BYTES,
        )


def _smaller(record: OutgoingRecord) -> list[OutgoingRecord]:
    if record.fallback is None:
        log.error("a record of %d bytes is too large for %s and was dropped", len(record.value or b""), record.topic)
        return []
    return [record.fallback]
