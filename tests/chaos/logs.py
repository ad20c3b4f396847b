"""Reads Kafka's logs, read committed, from the beginning to the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from tests.chaos.history import Letter, Reply, Stored

POLL_MS = 500
ASK_AGAIN_S = 0.2
READ_S = 120.0
"""A log that cannot be read to its end by then has a transaction that nobody ends."""


class LogStuck(Exception):
    """A log's end cannot be reached read committed."""


async def read_log(kafka: KafkaSettings, topic: str) -> list[Any]:
    """Every committed record of `topic`. Raises `LogStuck`."""
    ends = await _ends(kafka, topic)
    records: list[Any] = []
    async with reader(kafka, topic, "read_committed") as consumer:
        try:
            async with asyncio.timeout(READ_S):
                while not all([await consumer.position(partition) >= end for partition, end in ends.items()]):
                    for fetched in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                        records.extend(fetched)
        except TimeoutError:
            raise LogStuck(f"{topic} could not be read to its end within {READ_S} s: an open transaction") from None
    return records


async def lag(kafka: KafkaSettings) -> dict[int, int]:
    """For each partition of the request topic, how many records the group has not committed."""
    ends = await _ends(kafka, kafka.request_topics[0])
    async with asyncio.timeout(READ_S):
        committed = await _committed(kafka, list(ends))
    return {partition.partition: end - max(0, committed[partition].offset) for partition, end in ends.items()}


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


async def _ends(kafka: KafkaSettings, topic: str) -> dict[TopicPartition, int]:
    """The ends of the log, what is in open transactions included."""
    async with reader(kafka, topic, "read_uncommitted") as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
        return ends


@asynccontextmanager
async def reader(kafka: KafkaSettings, topic: str, isolation: str) -> AsyncIterator[Any]:
    """A consumer without a group, from the beginning."""
    options = {"auto_offset_reset": "earliest", "isolation_level": isolation, "enable_auto_commit": False}
    consumer = AIOKafkaConsumer(topic, **kafka.client_options(), **options)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def stored(record: Any) -> Stored:
    correlation_id = dict(record.headers).get(contract.CORRELATION_ID, b"")
    return Stored(_place(record), correlation_id.decode(errors="replace"), record.timestamp)


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
    )


def letter(record: Any) -> Letter:
    headers = {name: value or b"" for name, value in record.headers}
    topic = headers.get("kafka_dlt-original-topic", b"").decode()
    partition, offset = (
        int.from_bytes(headers.get(f"kafka_dlt-original-{name}", b""), "big") for name in ("partition", "offset")
    )
    code, _, _ = headers.get("kafka_dlt-exception-message", b"").decode().partition(":")
    return Letter(f"{topic}-{partition}-{offset}", code)


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
