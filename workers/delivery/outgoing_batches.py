"""The records of one commit on their way to the broker: all of them handed over before the first is waited for."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from pelton.pipeline.wire.records import OutgoingRecord

BATCH_BYTES = 262_144
"""Per topic partition. A flush is sent at once, so it should fit: who meets a full batch waits for a round trip. A
larger record goes by itself."""


class RecordsTooLarge(Exception):
    """Records that were refused as larger than their topic takes; nothing was published.

    Kafka refuses batches: unless the outlet is open `one_by_one`, some of them would have fitted alone.
    """

    def __init__(self, records: Sequence[OutgoingRecord]) -> None:
        super().__init__(f"{len(records)} records are too large for their topics")
        self.records = records


async def acknowledged(producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]) -> None:
    """Send all and wait until the broker has taken every one. Raises `RecordsTooLarge` or the first `KafkaError`."""
    # One after the other, not a task for each: hundreds of tasks cost more than what they would overlap.
    sent: list[tuple[Sequence[OutgoingRecord], asyncio.Future[Any]]] = []
    failed: list[tuple[OutgoingRecord, Exception]] = []
    try:
        for batch in _batches(producer, records):
            try:
                sent.append((batch.records, await batch.send(producer)))
            except Exception as error:  # noqa: BLE001  # raised below, once it is known of all
                failed.extend((record, error) for record in batch.records)
        for some, acknowledgement in sent:
            try:
                await acknowledgement
            except Exception as error:  # noqa: BLE001  # likewise
                failed.extend((record, error) for record in some)
    finally:
        for _, acknowledgement in sent:
            acknowledgement.cancel()  # where this was given up half-way: nobody will ask for their errors
    too_large = [record for record, fault in failed if isinstance(fault, MessageSizeTooLargeError)]
    if too_large:
        raise RecordsTooLarge(too_large)
    for _, fault in failed:
        raise fault


@dataclass(slots=True)
class _Batch:
    """Records that are handed over together, with one acknowledgement; without a builder it is a single one."""

    records: list[OutgoingRecord]
    builder: BatchBuilder | None = None

    def takes(self, record: OutgoingRecord) -> bool:
        """Put one more in, if there is room."""
        headers = list(record.headers)
        if self.builder is None or not self.builder.append(
            timestamp=None, key=record.key, value=record.value, headers=headers
        ):
            return False
        self.records.append(record)
        return True

    async def send(self, producer: AIOKafkaProducer) -> asyncio.Future[Any]:
        """Hand it over; returns the future of its acknowledgement."""
        first = self.records[0]
        if self.builder is None:
            headers = list(first.headers)
            sent: asyncio.Future[Any] = await producer.send(
                first.topic, first.value, first.key, first.partition, headers=headers
            )
            return sent
        self.builder.close()
        together: asyncio.Future[Any] = await producer.send_batch(self.builder, first.topic, partition=first.partition)
        return together


def _batches(producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]) -> Iterator[_Batch]:
    """All of them, those to one partition together: a record by itself costs its own metadata look-up and future.

    What has no partition yet or may be too large goes by itself, through all the checks of the producer.
    """
    filling: dict[tuple[str, int], _Batch] = {}
    for record in records:
        if record.partition is None or len(record.value or b"") >= BATCH_BYTES:
            yield _Batch([record])
            continue
        place = record.topic, record.partition
        batch = filling.get(place)
        if batch is None or not batch.takes(record):
            if batch is not None:
                yield batch
            batch = filling[place] = _Batch([], producer.create_batch())
            batch.takes(record)  # whatever its size, as it is the first
    yield from filling.values()
