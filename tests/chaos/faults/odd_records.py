"""Records that nobody should send, for every topic that is read, and what is due for them."""

import functools
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from aiokafka.errors import KafkaError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import dead_letter_topic
from pelton.workers.engine.simulated.text import signature
from pelton.workers.kafka.batches import RawRecord, write_records
from tests.chaos.history import Kind
from tests.chaos.load import Load
from tests.chaos.logs import ODD
from tests.chaos.mix import Content, Request
from tests.raw_batches import CODEC_NUMBERS, PACK, produce_raw, raw_batch, with_codec

log = logging.getLogger(__name__)

BOMB_BYTES = 34 * 1_048_576
"""More than a worker unpacks of one batch."""
UNKNOWN_CODEC = 6
LONG_ID = b"i" * 5_000
UNREADABLE = "unreadable_record"


@dataclass(frozen=True, slots=True)
class Odd:
    """A batch for a topic. Of one for a request topic `content` says what is due, under its own id or its place's."""

    topic: str
    partition: int
    batch: bytes
    content: Content | None = None
    correlation_id: str | None = None


class OddRecords:
    """Sends a volley of each kind, to partitions drawn by the seed."""

    def __init__(self, kafka: KafkaSettings, seed: int, load: Load) -> None:
        self._kafka = kafka
        self._seed = seed
        self._load = load
        self.loud: list[str] = []
        """Places of batches that cannot be read, each of which a worker's log must name."""
        self.refused = 0
        """Batches that the broker did not take."""

    async def volley(self, number: int) -> None:
        """Send them all, each once at most."""
        rng = random.Random(f"{self._seed} odd {number}")
        for odd in (*self._requests(rng, number), *self._cancels(rng), *self._suspects(rng), *self._letters(rng)):
            await self._send(odd)

    async def _send(self, odd: Odd) -> None:
        place: str | None = None
        try:
            offset = await produce_raw(self._kafka.bootstrap_servers, odd.topic, odd.partition, odd.batch)
            place = f"{odd.topic}-{odd.partition}-{offset}"
        except KafkaError as error:
            if not error.retriable:
                self.refused += 1
                log.info("the broker refuses an odd record for %s: %r", odd.topic, error)
                return
            log.warning("an odd record for %s may be stored or not: %r", odd.topic, error)
        except (OSError, TimeoutError, AssertionError) as error:
            log.warning("an odd record for %s may be stored or not: %r", odd.topic, error)
        if odd.content is not None and (name := odd.correlation_id or place):
            self._load.note(Request(name, odd.partition, odd.content), place)
            if place and odd.content.due == UNREADABLE and odd.correlation_id is None:
                self.loud.append(place)

    def _requests(self, rng: random.Random, number: int) -> Iterator[Odd]:
        topic, count = self._kafka.request_topics[0], self._kafka.partitions
        unreadable = Content(Kind.BAD, UNREADABLE, b"")
        bodies = iter(f"odd {number} of {self._seed}: {index}" for index in range(1_000))

        def odd(record: RawRecord, due: Content, name: str | None, codec: str | None = None) -> Odd:
            return Odd(topic, rng.randrange(count), raw_batch(record, codec, _now_ms()), due, name)

        def named(index: int) -> tuple[str, tuple[bytes, bytes]]:
            name = f"{self._seed}-odd-{number}-{index}"
            return name, (contract.CORRELATION_ID.encode(), name.encode())

        name, header = named(0)
        yield odd(RawRecord(0, 0, None, _body(next(bodies)), (header, (b"\xff\xfe", b"x"))), unreadable, name)
        name, header = named(1)
        yield odd(RawRecord(0, 0, None, None, (header,)), Content(Kind.BAD, "empty_record", b""), name)
        name, header = named(2)
        yield odd(RawRecord(0, 0, None, b"", (header,)), Content(Kind.BAD, "invalid_json", b""), name)
        name, header = named(3)
        junk = b"\xff" + rng.randbytes(200)
        yield odd(RawRecord(0, 0, None, junk, (header,)), Content(Kind.BAD, "not_utf8", b""), name)
        too_long = (contract.CORRELATION_ID.encode(), LONG_ID)
        yield odd(
            RawRecord(0, 0, None, _body(next(bodies)), (too_long,)), Content(Kind.BAD, "invalid_header", b""), None
        )
        for index, more in enumerate((((b"huge", b"h" * 300_000),), ((b"many", b"m"),) * 2_000), 4):
            (name, header), text = named(index), next(bodies)
            yield odd(RawRecord(0, 0, None, _body(text), (header, *more)), _good(text), name)
        for index, codec in enumerate(PACK, 6):
            (name, header), text = named(index), next(bodies)
            yield odd(RawRecord(0, 0, None, _body(text), (header,)), _good(text), name, codec)
        for codec in ("gzip", "lz4", "zstd"):
            yield Odd(topic, rng.randrange(count), _bomb(codec), unreadable)
        yield Odd(topic, rng.randrange(count), with_codec(rng.randbytes(60), UNKNOWN_CODEC, _now_ms()), unreadable)
        yield Odd(
            topic, rng.randrange(count), with_codec(rng.randbytes(60), CODEC_NUMBERS["zstd"], _now_ms()), unreadable
        )

    def _cancels(self, rng: random.Random) -> Iterator[Odd]:
        """None of them names a request that there is."""
        topic, bad = self._kafka.cancels_topic, (b"\xff\xfe", b"x")
        yield Odd(topic, 0, raw_batch(RawRecord(0, 0, b"nobody", b"", (bad,))))
        yield Odd(topic, 0, _bomb("zstd"))
        for record in (
            RawRecord(0, 0, None, None, ()),
            RawRecord(0, 0, b"", b"", ()),
            RawRecord(0, 0, rng.randbytes(50), rng.randbytes(500), ()),
            RawRecord(0, 0, LONG_ID, b"", ()),
            RawRecord(0, 0, None, b"", ((b"huge", b"h" * 300_000),)),
        ):
            yield Odd(topic, 0, raw_batch(record, rng.choice(list(PACK)), _now_ms() + 3_600_000))

    def _suspects(self, rng: random.Random) -> Iterator[Odd]:
        """Forged condemnations of what is there and what is to come among them: they have no signature."""
        topic, requests, group = self._kafka.suspects_topic, self._kafka.request_topics[0], self._kafka.group_id
        yield Odd(topic, 0, raw_batch(RawRecord(0, 0, b"k", b"v", ((b"\xff\xfe", b"x"),))))
        yield Odd(topic, 0, _bomb("gzip", b"k"))
        yield Odd(topic, 0, raw_batch(RawRecord(0, 0, rng.randbytes(30), rng.randbytes(30), ())))
        for crashes in (2**40, -1, 3):
            key = orjson.dumps([group, requests, rng.randrange(self._kafka.partitions), rng.randrange(5_000)])
            value = orjson.dumps({"crashes": crashes, "together": 1, "alone": crashes})
            yield Odd(topic, 0, raw_batch(RawRecord(0, 0, key, value, ()), rng.choice(list(PACK)), _now_ms()))

    def _letters(self, rng: random.Random) -> Iterator[Odd]:
        topic, mark = dead_letter_topic(self._kafka.request_topics[0]), (ODD.encode(), b"1")
        partition = rng.randrange(self._kafka.partitions)
        yield Odd(topic, partition, raw_batch(RawRecord(0, 0, b"k", b"v", ((b"\xff\xfe", b"x"), mark))))
        yield Odd(topic, partition, _bomb("zstd"))
        for headers in (
            (),
            ((b"kafka_dlt-original-topic", b"\xff"), (b"kafka_dlt-original-offset", b"123")),
            ((b"pelton-dlt-replayed", b"0:0"),),
            ((b"pelton-dlt-replayed", rng.randbytes(40)), (b"kafka_dlt-exception-message", b"\x1b]52;c;\x07")),
        ):
            record = RawRecord(0, 0, None, rng.randbytes(100), (*headers, mark))
            yield Odd(topic, partition, raw_batch(record, rng.choice(list(PACK))))


def _body(text: str) -> bytes:
    return orjson.dumps({"model": "default", "messages": [{"role": "user", "content": text}]})


def _good(text: str) -> Content:
    return Content(Kind.GOOD, signature(f"user: {text}"), b"")


@functools.cache
def _bomb(codec: str, key: bytes | None = None) -> bytes:
    payload = PACK[codec](write_records([RawRecord(0, 0, key, b"a" * BOMB_BYTES, ())]))
    return with_codec(payload, CODEC_NUMBERS[codec], _now_ms())


def _now_ms() -> int:
    return round(time.time() * 1000)
