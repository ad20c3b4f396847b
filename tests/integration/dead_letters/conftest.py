"""A request topic and its dead-letter topic of a test's own, and what a worker and a reader do with them."""

import asyncio
import os
import sys
import uuid

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pelton.pipeline.errors import OutOfMemory
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.producers.dead_letters.letters import LetterPosition
from pelton.producers.kafka.offsets import end_offsets

PARTITIONS = 3
LIMIT = 2_500_000


class Graveyard:
    """Where letters are buried, and where replayed requests are found. With `environment`, commands work here."""

    def __init__(self, kafka, producer):
        self.kafka = kafka
        self.requests = kafka.request_topics[0]
        self.topic = f"{self.requests}-dlt"
        self.environment = {
            "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        }
        self._producer = producer

    def letter(self, number=0, error=None, *, value=b"{}", key=None, headers=()):
        """What a worker writes when request `number`, from partition `number` modulo 3, fails."""
        source = Source(self.requests, number % PARTITIONS, 1_000 + number)
        sent = [("kafka_correlationId", f"id-{number}".encode()), *headers]
        record = RequestRecord(source, key, value, sent, 1_700_000_000_000 + number, 0)
        return dead_letter(record, error or OutOfMemory("No room left."), "group")

    async def bury(self, *letters, producer=None, partition=None):
        """Write letters; return their places."""
        futures = [
            await (producer or self._producer).send(
                one.topic, one.value, one.key, partition=partition, headers=list(one.headers)
            )
            for one in letters
        ]
        return [LetterPosition(stored.partition, stored.offset) for stored in await asyncio.gather(*futures)]

    async def bury_many(self, count):
        """Letters of requests with bodies `body 0`, `body 1`, …"""
        return await self.bury(*[self.letter(number, value=b"body %d" % number) for number in range(count)])

    async def replayed(self):
        """All that readers of committed records find on the request topic now."""
        ends = await end_offsets(self.kafka, self.requests, PARTITIONS)
        found = []
        async with self.reader() as reader:
            places = reader.assignment()
            while any([await reader.position(place) < ends[place.partition] for place in places]):
                for records in (await reader.getmany(timeout_ms=100)).values():
                    found.extend(records)
        return found

    def reader(self):
        """A consumer of the request topic's committed records, from the first on; to be entered."""
        return _Reader(self.kafka.bootstrap_servers, self.requests)

    async def command(self, *arguments):
        """`pelton dlt`, as a process of its own, without a terminal."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "pelton", "dlt", *arguments),
            env=os.environ | self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


class _Reader:
    def __init__(self, bootstrap, topic):
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        self._places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]

    async def __aenter__(self):
        await self._consumer.start()
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning()
        return self._consumer

    async def __aexit__(self, *_):
        await self._consumer.stop()


@pytest.fixture
async def graveyard(kafka_bootstrap):
    """Both topics, with 3 partitions; dead letters may be as large as a worker's topics allow."""
    name = f"requests-{uuid.uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, request_topics=(name,), request_timeout_ms=5_000)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=LIMIT)
    await admin.start()
    roomy = NewTopic(f"{name}-dlt", PARTITIONS, 1, topic_configs={"max.message.bytes": str(LIMIT)})
    await admin.create_topics([NewTopic(name, PARTITIONS, 1), roomy])
    await producer.start()
    yield Graveyard(kafka, producer)
    await producer.stop()
    await admin.delete_topics([name, f"{name}-dlt"])
    await admin.close()
