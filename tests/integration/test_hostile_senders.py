"""What one sender can do to a worker and to others: little, and at no more than a bounded price."""

import asyncio
import time

import psutil
import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers import InferenceClient, ReplyError
from tests.replies import error_code

MIB = 1 << 20
COSTLY = (
    b'{"model": "default", "messages": [' + b",".join([b"{}"] * 330_000) + b"]}",
    b'{"model": "default", "messages": [' + b",".join([b'{"role":"user","content":""}'] * 34_000) + b"]}",
    b'{"model": "default", "messages": [], ' + b",".join(b'"f%d":0' % number for number in range(90_000)) + b"}",
)
GOOD = 40
ALONE_S = 10.0
"""Within this everybody else is answered, on a busy machine too; a body of empty messages alone took 4 s to refuse."""
KEY = "the key of acme!"


async def test_costly_bodies_cost_their_neighbours_little(place, client, chat_body):
    """A dozen megabytes made to be expensive are refused; requests among them are answered in their usual time."""
    at = await place(partitions=2)
    async with at.worker():
        await client.send(at.requests, chat_body("warm"))
        await client.read(at.replies, 1)
        before = psutil.Process().memory_info().rss
        began = time.monotonic()
        for number in range(GOOD):
            await client.send(at.requests, chat_body(str(number)), [("kafka_correlationId", b"good")])
            if number < 12:
                await client.send(at.requests, COSTLY[number % 3])
        replies = await client.read(at.replies, 1 + GOOD + 12, timeout_s=60)
        took_s = time.monotonic() - began
        grown = psutil.Process().memory_info().rss - before
    good = [reply for reply in replies if dict(reply.headers)["kafka_correlationId"] == b"good"]
    assert [error_code(reply) for reply in good] == [None] * GOOD
    assert sum(error_code(reply) == "invalid_value" for reply in replies) == 12
    assert took_s < ALONE_S
    assert grown < 300 * MIB


async def test_an_id_that_is_too_long_gets_an_error_reply_and_a_dead_letter(place, client, chat_body):
    """Under the request's place: the id itself would not fit the reply topic."""
    at = await place(partitions=1)
    async with at.worker():
        _, offset = await client.send(at.requests, chat_body(), [("kafka_correlationId", b"x" * 530_000)])
        (reply,) = await client.read(at.replies, 1)
    headers = dict(reply.headers)
    assert error_code(reply) == "invalid_header"
    assert headers["kafka_correlationId"] == f"{at.requests}-0-{offset}".encode()
    (letter,) = await client.read_all(at.dead_letters)
    assert dict(letter.headers)["kafka_correlationId"] == b"x" * 530_000


async def test_a_place_in_kafka_is_no_id_to_cancel_by(place, client, chat_body):
    """It can be guessed for every request to come; so can a date."""
    at = await place(partitions=1)
    ahead = round(time.time() * 1000) + 3_600_000
    async with at.worker():
        for offset in range(20):
            guess = [("kafka_correlationId", f"{at.requests}-0-{offset}".encode())]
            await client.send(at.settings.kafka.cancels_topic, b"", guess, timestamp_ms=ahead)
        await client.send(at.settings.kafka.cancels_topic, b"", [("kafka_correlationId", b"\x1b[2J" * 200_000)])
        await asyncio.sleep(0.5)  # there is nothing to be awaited: the cancels do nothing
        for number in range(20):
            await client.send(at.requests, chat_body(str(number)))
        replies = await client.read(at.replies, 20)
    assert [error_code(reply) for reply in replies] == [None] * 20


async def test_a_tenant_with_a_key_cannot_be_impersonated(place):
    """Pelton's client signs where it has the key; without it the tenant's name is refused, another body too."""
    at = await place(partitions=1, kafka={"tenant_keys": {"acme": KEY}})
    keyless = KafkaSettings(**at.settings.kafka.model_dump() | {"tenant_keys": {}})
    hello = [{"role": "user", "content": "hello"}]
    async with at.worker(), InferenceClient(at.settings.kafka) as signing, InferenceClient(keyless) as forging:
        answer = await signing.complete(hello, tenant="acme", timeout_s=60)
        assert answer.choices[0].message.content
        with pytest.raises(ReplyError) as refused:
            await forging.complete(hello, tenant="acme", timeout_s=60)
        assert (await forging.complete(hello, timeout_s=60)).choices
    assert (refused.value.code, refused.value.status) == ("tenant_not_proven", 403)
