"""Records that nobody should send, on a real broker: each has its own error and dead letter, none stops others."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pelton.workers.kafka.batches import RawRecord
from tests.raw_batches import PACK, produce_raw, raw_batch
from tests.replies import error_code

CODECS = tuple(PACK)


def correlation(record: Any) -> bytes:
    return dict(record.headers)["kafka_correlationId"]


def bad_name(body: bytes) -> bytes:
    headers = ((b"kafka_correlationId", b"bad name"), (b"\xff\xfe", b"x"))
    return raw_batch(RawRecord(0, 0, None, body, headers))


@pytest.mark.parametrize("codec", CODECS)
async def test_compressed_requests_and_cancels_are_read(place, client, chat_body, codec):
    """What any producer compresses is answered, and what it cancels is cancelled."""
    at = await place(partitions=1, simulated={"min_output_tokens": 64, "mean_output_tokens": 64, "itl_ms": 100})
    async with (
        AIOKafkaProducer(bootstrap_servers=at.bootstrap, compression_type=codec) as producer,
        at.worker(),
    ):
        for name, most in ((b"kept", 2), (b"cancelled", 64)):
            body = chat_body(name.decode() * 99, max_tokens=most)
            await producer.send_and_wait(at.requests, body, headers=[("kafka_correlationId", name)])
        await producer.send_and_wait(at.settings.kafka.cancels_topic, b"", key=b"cancelled")
        replies = {correlation(reply): error_code(reply) for reply in await client.read(at.replies, 2)}
    assert replies == {b"kept": None, b"cancelled": "cancelled"}


async def test_a_header_name_that_is_no_text_ends_its_own_request(place, client, chat_body):
    """It gets its error under its own correlation id, its dead letter has its bytes, and the next is answered."""
    at = await place(partitions=1)
    body = chat_body("odd")
    async with at.worker():
        await produce_raw(at.bootstrap, at.requests, 0, bad_name(body))
        await client.send(at.requests, chat_body("good"), [("kafka_correlationId", b"good")])
        replies = {correlation(reply): error_code(reply) for reply in await client.read(at.replies, 2)}
    assert replies == {b"bad name": "unreadable_record", b"good": None}
    (letter,) = await client.read_all(at.dead_letters)
    assert letter.value == body


async def test_odd_records_do_not_slow_the_other_partitions(place, client, chat_body):
    """While bad header names keep coming on one partition, a request on another waits no longer than alone."""
    at = await place(partitions=2)

    async def round_trips(first: int) -> list[float]:
        took = []
        for index in range(first, first + 10):
            began = asyncio.get_running_loop().time()
            await client.send(at.requests, chat_body(str(index)), [("kafka_correlationId", b"%d" % index)], partition=0)
            await answered(at, index + 1)
            took.append(asyncio.get_running_loop().time() - began)
        return sorted(took)

    async with at.worker():
        alone = await round_trips(0)
        enough = asyncio.Event()
        odd = asyncio.create_task(keep_sending(at, chat_body("odd"), enough))
        beside = await round_trips(10)
        enough.set()
        await odd
    assert beside[5] < alone[5] + 0.3, (alone, beside)


async def keep_sending(at: Any, body: bytes, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await produce_raw(at.bootstrap, at.requests, 1, bad_name(body))


async def answered(at: Any, count: int) -> None:
    """Wait until so many requests were answered."""
    async with asyncio.timeout(60):
        while at.metrics.finished.labels("ok")._value.get() < count:  # noqa: ASYNC110  # a counter has no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_a_bomb_ends_its_own_request(place, client, chat_body, codec, caplog):
    """It is not unpacked: it has an error reply, a dead letter with the bytes sent, and one line in the log."""
    at = await place(partitions=1)
    bomb = raw_batch(RawRecord(0, 0, None, b"a" * (40 << 20), ()), codec)
    async with at.worker():
        await produce_raw(at.bootstrap, at.requests, 0, bomb)
        await client.send(at.requests, chat_body("good"), [("kafka_correlationId", b"good")])
        replies = {correlation(reply): error_code(reply) for reply in await client.read(at.replies, 2)}
    source = f"{at.requests}-0-0".encode()
    assert replies == {source: "unreadable_record", b"good": None}
    (letter,) = await client.read_all(at.dead_letters)
    assert letter.value[61:] == bomb[61:]
    (line,) = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert f"Offsets 0 to 0 of topic {at.requests}, partition 0" in line
    assert "unpacks to more than" in line


async def test_a_bad_header_name_among_cancels_stops_no_cancel(place, client, chat_body):
    """The cancel after it is heard."""
    at = await place(partitions=1, simulated={"min_output_tokens": 64, "mean_output_tokens": 64, "itl_ms": 100})
    async with at.worker():
        await produce_raw(at.bootstrap, at.settings.kafka.cancels_topic, 0, bad_name(b""))
        await client.send(at.requests, chat_body("long"), [("kafka_correlationId", b"long")])
        await client.send(at.settings.kafka.cancels_topic, b"", [("kafka_correlationId", b"long")])
        (reply,) = await client.read(at.replies, 1)
    assert error_code(reply) == "cancelled"
