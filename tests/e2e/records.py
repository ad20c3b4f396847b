"""What workers as processes are sent, what they answer, and who they are."""

import asyncio
import re
from collections import Counter

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord


async def publish(bootstrap: str, topic: str, texts: list[str]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for index, text in enumerate(texts):
            body = {"model": "default", "messages": [{"role": "user", "content": text}]}
            await producer.send(topic, orjson.dumps(body), headers=[("kafka_correlationId", str(index).encode())])
        await producer.flush()


async def replies(bootstrap: str, topic: str, count: int, timeout_s: float = 120) -> list[ConsumerRecord]:
    """Replies to `count` different requests, and whatever else is there by then."""
    found: list[ConsumerRecord] = []
    async with reader(bootstrap, topic) as consumer, asyncio.timeout(timeout_s):
        while len({header(reply, "kafka_correlationId") for reply in found}) < count:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found.extend(records)
    return found


async def everything(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """All committed records of a topic."""
    found: list[ConsumerRecord] = []
    async with reader(bootstrap, topic) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while [partition for partition, end in ends.items() if await consumer.position(partition) < end]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
    return found


def reader(bootstrap: str, topic: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )


def header(record: ConsumerRecord, name: str) -> bytes:
    return dict(record.headers)[name]


def answered(found: list[ConsumerRecord]) -> Counter[int]:
    return Counter(int(header(reply, "kafka_correlationId")) for reply in found)


def worker_pids(log: str) -> list[int]:
    """The worker processes of a pool, oldest first."""
    return [int(pid) for pid in re.findall(r"worker \d+ is process (\d+)", log)]
