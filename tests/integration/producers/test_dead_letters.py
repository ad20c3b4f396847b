"""Dead letters on a real broker: replayed once each, through repeats, kills and rivals."""

import asyncio
import collections
import functools
import os
import random
import signal
import sys
from contextlib import asynccontextmanager

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.deadletter import dead_letter
from pipeline.errors import EngineError, OutOfMemory, RequestTooLarge
from pipeline.records import OutgoingRecord, RequestRecord, Source
from producers import dead_letter_replay
from producers.dead_letter_log import look_at
from producers.dead_letter_replay import plan, replay
from producers.dead_letter_sender import ReplayFailed
from producers.dead_letters import Place, Selection
from producers.request_log import end_offsets

PARTITIONS = 3
EVERYTHING = Selection()


class Graveyard:
    """A dead-letter topic of a test's own, beside `kafka`'s request topic."""

    def __init__(self, kafka, producer):
        self.kafka = kafka
        self.requests = kafka.request_topics[0]
        self.topic = f"{self.requests}-dlt"
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
        return [Place(stored.partition, stored.offset) for stored in await asyncio.gather(*futures)]

    async def bury_many(self, count):
        return await self.bury(*[self.letter(number, value=b"body %d" % number) for number in range(count)])

    async def replayed(self):
        """All that readers of committed records find on the request topic."""
        places = [TopicPartition(self.requests, partition) for partition in range(PARTITIONS)]
        ends = await end_offsets(self.kafka, self.requests, PARTITIONS)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            found = []
            while any([await consumer.position(place) < ends[place.partition] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()


@pytest.fixture
async def graveyard(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await producer.start()
    yard = Graveyard(kafka, producer)
    await admin.create_topics([NewTopic(yard.topic, PARTITIONS, 1)])
    yield yard
    await producer.stop()
    await admin.delete_topics([yard.topic])
    await admin.close()


@asynccontextmanager
async def transaction_of_another(kafka):
    """A producer whose transaction stays open until the test ends it."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"x-{random.random()}")
    await producer.start()
    await producer.begin_transaction()
    yield producer
    await producer.stop()


def assert_each_once(records, count):
    """Requests `0` to `count` have come back, each once, as what they were."""
    values = collections.Counter(record.value for record in records)
    assert values == {b"body %d" % number: 1 for number in range(count)}


async def test_a_letter_goes_back_as_the_request_it_was(graveyard):
    """Key, value, headers and partition are the request's; nothing of the dead letter is left on it."""
    sent = [("x", None), ("x", b"\xff"), ("pelton-tenant", b"acme")]
    (place,) = await graveyard.bury(graveyard.letter(5, value=b'{"a": 1}', key=b"key", headers=sent))
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    (record,) = await graveyard.replayed()
    assert done.places == {place}
    assert done.codes == {"out_of_memory": 1}
    assert (record.key, record.value, record.partition) == (b"key", b'{"a": 1}', 2)
    assert list(record.headers) == [("kafka_correlationId", b"id-5"), *sent]


async def test_replayed_twice(graveyard):
    """The second replay finds the notes and sends nothing; `again` sends all once more."""
    await graveyard.bury_many(250)
    first = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    second = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert_each_once(await graveyard.replayed(), 250)
    assert (len(first.places), len(first.replayed_before)) == (250, 0)
    assert (len(second.places), len(second.replayed_before)) == (0, 250)
    await replay(graveyard.kafka, graveyard.topic, EVERYTHING, again=True)
    assert len(await graveyard.replayed()) == 500


async def test_a_request_that_fails_again_can_be_replayed_again(graveyard):
    """Its new letter has a place of its own, whatever became of the first."""
    await graveyard.bury(graveyard.letter(1))
    await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    (record,) = await graveyard.replayed()
    request = RequestRecord(
        Source(record.topic, record.partition, record.offset), record.key, record.value, record.headers, 1, 0
    )
    (place,) = await graveyard.bury(dead_letter(request, EngineError("Again."), "group"))
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert (done.places, len(done.replayed_before)) == ({place}, 1)
    records = await graveyard.replayed()
    assert [dict(record.headers)["kafka_correlationId"] for record in records] == [b"id-1", b"id-1"]


async def test_only_what_is_selected(graveyard):
    """What was replayed is not a prefix: the others stay, and a wider replay sends them and no others."""
    places = await graveyard.bury_many(30)
    odd = frozenset(places[1::2])
    planned = await plan(graveyard.kafka, graveyard.topic, Selection(places=odd))
    assert await graveyard.replayed() == []
    done = await replay(graveyard.kafka, graveyard.topic, Selection(places=odd))
    assert planned.places == done.places == odd
    assert {record.value for record in await graveyard.replayed()} == {b"body %d" % n for n in range(1, 30, 2)}
    rest = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert rest.places == set(places) - odd
    assert_each_once(await graveyard.replayed(), 30)


async def test_a_place_without_a_letter(graveyard):
    """It is named, a note's place as well; the rest is replayed."""
    (place,) = await graveyard.bury(graveyard.letter())
    nowhere = {Place(0, 99), Place(7, 0)}
    done = await replay(graveyard.kafka, graveyard.topic, Selection(places=frozenset({place, *nowhere})))
    assert (done.places, done.missing) == ({place}, nowhere)
    note = Place(place.partition, place.offset + 1)
    again = await replay(graveyard.kafka, graveyard.topic, Selection(places=frozenset({note})))
    assert (again.places, again.missing) == (set(), {note})


async def test_letters_that_cannot_be_replayed(graveyard):
    """Each is named with the reason, whatever else is replayed: no body left, no origin, another's, too large."""
    truncated = graveyard.letter(1, RequestTooLarge("Too large.")).fallback
    foreign = OutgoingRecord(graveyard.topic, b"?", None, [("kafka_dlt-original-topic", b"t")])
    other = dead_letter(RequestRecord(Source("other", 0, 1), None, b"{}", (), 1, 0), EngineError("x"), "group")
    elsewhere = OutgoingRecord(graveyard.topic, b"{}", None, other.headers)
    large = OutgoingRecord(graveyard.topic, b"x" * 1_048_400, None, graveyard.letter(1).headers[1:])
    *bad, good = await graveyard.bury(truncated, foreign, elsewhere, graveyard.letter(3, value=b"body 0"))
    producer = AIOKafkaProducer(bootstrap_servers=graveyard.kafka.bootstrap_servers, max_request_size=2_000_000)
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert done.places == {good}
    assert done.impossible.keys() == set(bad)
    assert [done.impossible[place].split()[0] for place in bad] == ["it", "its", "it"]
    assert_each_once(await graveyard.replayed(), 1)
