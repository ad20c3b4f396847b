"""Reads Kafka's logs, read committed, from the beginning to the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.kafka.clients import stop_consumer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import UNREADABLE
from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES
from pelton.workers.kafka.consumer import SiftingConsumer
from tests.chaos.history import Letter, Reply, Stored

POLL_MS = 500
METADATA_AGE_MS = 1_000
"""Topics grow while they are read."""
ODD = "chaos-odd"
"""Header of a dead letter that is none of a worker's."""
ASK_AGAIN_S = 0.2
READ_S = 120.0
"""A log that cannot be read to its end by then has a transaction that nobody ends."""


class LogStuck(Exception):
    """A log's end cannot be reached read committed."""


async def read_log(
    kafka: KafkaSettings, topic: str, isolation: str = "read_committed", *, open_ones: bool = True
) -> list[Any]:
    """Every record of `topic`. Raises `LogStuck`.

    What is in open transactions is waited for, unless `open_ones` is False.
    """
    records: list[Any] = []
    async with reader(kafka, topic, isolation) as consumer:
        last = await ends(kafka, topic) if open_ones else await consumer.end_offsets(list(consumer.assignment()))
        try:
            async with asyncio.timeout(READ_S):
                while not all([await consumer.position(partition) >= end for partition, end in last.items()]):
                    for fetched in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                        records.extend(fetched)
        except TimeoutError:
            raise LogStuck(f"{topic} could not be read to its end within {READ_S} s: an open transaction") from None
    return records


async def lag(kafka: KafkaSettings) -> dict[str, int]:
    """For each partition of the request topics, how many records the group has not committed."""
    last: dict[TopicPartition, int] = {}
    for topic in kafka.request_topics:
        last |= await ends(kafka, topic)
    async with asyncio.timeout(READ_S):
        committed = await _committed(kafka, list(last))
    return {f"{place.topic}-{place.partition}": end - max(0, committed[place].offset) for place, end in last.items()}


async def _committed(kafka: KafkaSettings, partitions: list[TopicPartition]) -> dict[TopicPartition, Any]:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        while True:
            committed: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(
                kafka.group_id, partitions=partitions
            )
            if committed:  # aiokafka reports an error by an empty answer
                return committed
            await asyncio.sleep(ASK_AGAIN_S)
    finally:
        await admin.close()


async def ends(kafka: KafkaSettings, topic: str) -> dict[TopicPartition, int]:
    """The ends of the log, what is in open transactions included."""
    async with reader(kafka, topic, "read_uncommitted") as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
        return ends


@asynccontextmanager
async def reader(kafka: KafkaSettings, topic: str, isolation: str) -> AsyncIterator[Any]:
    """A consumer without a group, from the beginning. It reads as workers do, who stop at no odd record."""
    consumer = SiftingConsumer(
        topic,
        client=kafka.client_options(),
        auto_offset_reset="earliest",
        isolation_level=isolation,
        enable_auto_commit=False,
        metadata_max_age_ms=METADATA_AGE_MS,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await stop_consumer(consumer)


def stored(record: Any, life: int | None = None) -> Stored:
    """`life` is counted for a topic that is made anew: its offsets begin anew, too."""
    headers = dict(record.headers)
    place = _place(record)
    correlation_id = headers.get(contract.CORRELATION_ID) or b""
    if not 0 < len(correlation_id) <= MAX_CORRELATION_ID_BYTES:
        correlation_id = place.encode()
    source = place if life is None else f"{place}@{life}"
    return Stored(source, correlation_id.decode(errors="replace"), record.timestamp, UNREADABLE in headers)


def is_odd(record: Any) -> bool:
    """Whether a dead letter is none of a worker's."""
    headers = dict(record.headers)
    return ODD in headers or (UNREADABLE in headers and "kafka_dlt-original-topic" not in headers)


def reply(record: Any) -> Reply:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    answer, error, completion_id = _content(record.value)
    return Reply(
        headers.get(contract.SOURCE, ""),
        headers.get(contract.CORRELATION_ID, ""),
        answer,
        error,
        headers.get(contract.WORKER, ""),
        record.timestamp,
        headers.get(contract.CACHE, ""),
        completion_id,
        record.topic,
        record.partition,
        int(headers.get(contract.RETRY_AFTER_MS, 0)),
    )


def letter(record: Any) -> Letter:
    headers = {name: value or b"" for name, value in record.headers}
    topic = headers.get("kafka_dlt-original-topic", b"").decode()
    partition, offset = (
        int.from_bytes(headers.get(f"kafka_dlt-original-{name}", b""), "big") for name in ("partition", "offset")
    )
    code, _, _ = headers.get("kafka_dlt-exception-message", b"").decode().partition(":")
    correlation_id = headers.get(contract.CORRELATION_ID, b"").decode(errors="replace")
    return Letter(f"{topic}-{partition}-{offset}", code, correlation_id)


def _place(record: Any) -> str:
    return f"{record.topic}-{record.partition}-{record.offset}"


def _content(value: bytes | None) -> tuple[str | None, str | None, str]:
    """The answer's text, or the error's code, neither for what is no reply; and the answer's id."""
    try:
        body = orjson.loads(value or b"")
        if "error" in body:
            return None, str(body["error"]["code"]), ""
        return str(body["choices"][0]["message"]["content"]), None, str(body["id"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return None, None, ""
