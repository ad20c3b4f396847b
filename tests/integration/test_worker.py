"""The worker against a real broker, with the simulated engine: the wire contract and nothing lost."""

import asyncio
import hashlib
import os
import time
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from openai.types.chat import ChatCompletion

from pelton.pipeline.lifecycle import State
from pelton.workers.kafka.topics import TopicsMissing, ensure_topics

ROLE_PREFIX = "user: "


def headers_of(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


def simulated_answer(content: str) -> str:
    """How every simulated reply begins: with a digest of the prompt it answers."""
    return f"sim:{hashlib.sha256((ROLE_PREFIX + content).encode()).hexdigest()[:16]}"


async def committed(bootstrap: str, group: str) -> dict[TopicPartition, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    offsets = await admin.list_consumer_group_offsets(group)
    await admin.close()
    return {partition: meta.offset for partition, meta in offsets.items()}


async def test_a_foreign_client_gets_a_completion_it_can_read(place, client, chat_body):
    """The reply validates as openai's own type, and the correlation id comes back byte for byte."""
    at = await place()
    correlation_id = bytes(range(256))
    async with at.worker():
        partition, offset = await client.send(
            at.requests, chat_body("What is a 10-K?"), [("kafka_correlationId", correlation_id)]
        )
        (reply,) = await client.read(at.replies, 1)
    completion = ChatCompletion.model_validate_json(reply.value)
    assert completion.choices[0].message.content.startswith(simulated_answer("What is a 10-K?"))
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    headers = headers_of(reply)
    assert headers["kafka_correlationId"] == correlation_id
    assert headers["pelton-source"] == f"{at.requests}-{partition}-{offset}".encode()
    assert {"pelton-queue-ms", "pelton-batch-wait-ms", "pelton-prefill-ms", "pelton-decode-ms"} <= headers.keys()


async def test_a_request_without_correlation_id_is_known_by_its_source(place, client, chat_body):
    """Without a correlation id the record's own place is the id."""
    at = await place()
    async with at.worker():
        partition, offset = await client.send(at.requests, chat_body())
        (reply,) = await client.read(at.replies, 1)
    assert headers_of(reply)["kafka_correlationId"] == f"{at.requests}-{partition}-{offset}".encode()


async def test_a_reply_goes_where_its_sender_wants_it(place, client, chat_body):
    """A partition in Spring's big-endian bytes is honoured; tenant and trace context come back with the reply."""
    at = await place(partitions=5)
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with at.worker():
        await client.send(
            at.requests,
            chat_body(),
            [
                ("kafka_replyTopic", at.replies.encode()),
                ("kafka_replyPartition", (3).to_bytes(4, "big")),
                ("pelton-tenant", b"acme"),
                ("traceparent", trace),
            ],
        )
        (reply,) = await client.read(at.replies, 1)
    assert reply.partition == 3
    headers = headers_of(reply)
    assert headers["pelton-tenant"] == b"acme"
    assert headers["traceparent"][:36] == trace[:36]
    assert headers["traceparent"] != trace


BAD_INPUT = {
    "tombstone": (None, [], "empty_record"),
    "not UTF-8": (b'{"model": "\xff"}', [], "not_utf8"),
    "not JSON": (b"{", [], "invalid_json"),
    "not an object": (b"[]", [], "not_an_object"),
    "unknown field": ({"temprature": 1}, [], "unknown_parameter"),
    "unsupported parameter": ({"stream": True}, [], "unsupported_parameter"),
    "wrong type": ({"temperature": "hot"}, [], "invalid_value"),
    "no messages": ({"messages": []}, [], "invalid_value"),
    "unknown model": ({"model": "gpt-17"}, [], "model_not_found"),
    "longer than the context": ({"messages": [{"role": "user", "content": "x" * 9000}]}, [], "context_length_exceeded"),
    "larger than the budget": ({"max_completion_tokens": 1500}, [], "request_too_large"),
    "1 MB of rubbish": (os.urandom(1_000_000), [], "not_utf8"),
    "1 MB of text": ({"messages": [{"role": "user", "content": "x" * 1_000_000}]}, [], "context_length_exceeded"),
    "more bytes than are read": ({"user": "x" * 1_020_000}, [], "request_too_large"),
    "foreign reply topic": ({}, [("kafka_replyTopic", b"somebody-elses")], "reply_topic_not_allowed"),
    "reply topic that is not there": ({}, [("kafka_replyTopic", b"allowed-but-absent")], "invalid_header"),
    "reply partition that is not there": ({}, [("kafka_replyPartition", (99).to_bytes(4, "big"))], "invalid_header"),
    "reply partition as text": ({}, [("kafka_replyPartition", b"1")], "invalid_header"),
    "deadline that is no time": ({}, [("pelton-deadline", b"soon")], "invalid_header"),
    "misspelt header": ({}, [("pelton-dedline", b"1")], "invalid_header"),
    "lane that is none": ({}, [("pelton-priority", b"s")], "invalid_header"),
}


async def test_bad_input_is_answered_and_dead_lettered_and_the_worker_lives_on(place, client, chat_body):
    """Each bad record gets its error reply and a dead letter with its origin; the good one after them is answered."""
    at = await place(
        partitions=1,
        kafka={"reply_topics_allowed": ("allowed-.*",)},
        engine={"max_batch_tokens": 1200},
        simulated={"context_length": 2000},
        worker={"max_request_bytes": 1_015_000},
    )
    base = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    async with at.worker():
        sources = {}
        for name, (value, headers, _) in BAD_INPUT.items():
            raw = orjson.dumps({**base, **value}) if isinstance(value, dict) else value
            _, offset = await client.send(at.requests, raw, [("kafka_correlationId", name.encode()), *headers])
            sources[offset] = (name, raw)
        await client.send(at.requests, chat_body(), [("kafka_correlationId", b"good")])
        replies = await client.read(at.replies, len(BAD_INPUT) + 1)
    answers = {headers_of(reply)["kafka_correlationId"].decode(): orjson.loads(reply.value) for reply in replies}
    assert len(replies) == len(BAD_INPUT) + 1
    assert answers.pop("good")["object"] == "chat.completion"
    assert {name: answer["error"]["code"] for name, answer in answers.items()} == {
        name: code for name, (_, _, code) in BAD_INPUT.items()
    }
    assert all(answer["error"]["message"].endswith(".") for answer in answers.values())
    letters = await client.read_all(at.dead_letters)
    assert len(letters) == len(BAD_INPUT)
    for letter in letters:
        found = headers_of(letter)
        name, raw = sources[int.from_bytes(found["kafka_dlt-original-offset"], "big")]
        assert letter.value == raw
        assert found["kafka_dlt-original-topic"] == at.requests.encode()
        assert found["kafka_dlt-original-partition"] == (0).to_bytes(4, "big")
        assert found["kafka_dlt-exception-message"].startswith(BAD_INPUT[name][2].encode())
    assert (await committed(at.bootstrap, at.settings.kafka.group_id)) == {
        TopicPartition(at.requests, 0): len(BAD_INPUT) + 1
    }


async def test_a_dead_letter_too_large_for_its_topic_loses_its_body_and_keeps_its_reason(place, client):
    """A record whose headers and body together exceed the topic's limit still leaves a dead letter."""
    at = await place(partitions=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=at.bootstrap)
    async with at.worker():
        await admin.start()
        limit = ConfigResource(ConfigResourceType.TOPIC, at.dead_letters, configs={"max.message.bytes": "20000"})
        await admin.alter_configs([limit])
        await admin.close()
        await client.send(at.requests, b"x" * 50_000, [("kafka_correlationId", b"big")])
        (reply,) = await client.read(at.replies, 1)
        (letter,) = await client.read(at.dead_letters, 1)
    assert orjson.loads(reply.value)["error"]["code"] == "invalid_json"
    assert letter.value is None
    assert headers_of(letter)["pelton-dlt-truncated"] == b"true"


async def test_deadlines_are_kept_before_and_while_waiting_and_while_running(place, client, chat_body):
    """Past its time before, in the line or in the engine a request gets deadline_exceeded and no dead letter."""
    at = await place(
        partitions=1, simulated={"itl_ms": 50, "min_output_tokens": 60, "mean_output_tokens": 60, "max_running": 1}
    )

    def until(seconds: float) -> list[tuple[str, bytes]]:
        return [("pelton-deadline", str(int((time.time() + seconds) * 1000)).encode())]

    async with at.worker():
        await client.send(at.requests, chat_body("past"), [("kafka_correlationId", b"past"), *until(-1)])
        await client.send(at.requests, chat_body("running"), [("kafka_correlationId", b"running"), *until(1)])
        await client.send(at.requests, chat_body("waiting"), [("kafka_correlationId", b"waiting"), *until(0.7)])
        replies = await client.read(at.replies, 3)
    codes = {headers_of(r)["kafka_correlationId"]: orjson.loads(r.value)["error"]["code"] for r in replies}
    assert codes == dict.fromkeys((b"past", b"waiting", b"running"), "deadline_exceeded")
    assert await client.read_all(at.dead_letters) == []


async def test_draining_under_load_loses_nothing(place, client, chat_body):
    """A worker told to leave finishes what runs and leaves the rest to the next; every request is answered once."""
    at = await place(partitions=4, simulated={"itl_ms": 2, "max_running": 16})
    count = 400
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    async with at.worker() as lifecycle:
        await client.read(at.replies, 40)
        lifecycle.advance(State.DRAINING)
    answered = len(await client.read_all(at.replies))
    assert 40 <= answered < count
    async with at.worker():
        replies = await client.read(at.replies, count)
    assert sorted(int(headers_of(r)["kafka_correlationId"]) for r in replies) == list(range(count))
    assert all(
        orjson.loads(r.value)["choices"][0]["message"]["content"].startswith(
            simulated_answer(headers_of(r)["kafka_correlationId"].decode())
        )
        for r in replies
    )


async def test_a_drain_past_its_deadline_cuts_off_and_loses_nothing(place, client, chat_body):
    """What the drain deadline cuts off gets no reply from the leaving worker, and one from the next."""
    at = await place(
        partitions=1,
        simulated={"itl_ms": 100, "min_output_tokens": 64, "mean_output_tokens": 64},
        worker={"drain_timeout_s": 0.2},
    )
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(3)])
    async with at.worker() as lifecycle:
        while not at.metrics.registry.get_sample_value("pelton_running_requests"):  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.02)
        started = time.monotonic()
        lifecycle.advance(State.DRAINING)
    assert time.monotonic() - started < 4
    assert await client.read_all(at.replies) == []
    quick = await place()  # the same topics, served by an engine that takes no time
    settings = at.settings.model_copy(update={"engine": quick.settings.engine})
    async with type(at)(settings).worker():
        replies = await client.read(at.replies, 3)
    assert sorted(headers_of(r)["kafka_correlationId"] for r in replies) == [b"0", b"1", b"2"]


async def test_a_second_worker_joining_under_load_loses_nothing(place, client, chat_body):
    """Partitions move to a worker that joins; every request is answered, none by nobody."""
    at = await place(partitions=6, simulated={"itl_ms": 2, "max_running": 16})
    count = 500
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    async with at.worker():
        await client.read(at.replies, 30)
        async with type(at)(at.settings).worker():
            await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
            replies = await client.read(at.replies, 2 * count)
    answered = sorted(headers_of(reply)["pelton-source"] for reply in replies)
    sources = {
        f"{at.requests}-{record.partition}-{record.offset}".encode() for record in await client.read_all(at.requests)
    }
    assert set(answered) == sources


async def test_a_full_line_stops_the_fetching(place, client, chat_body):
    """No more requests are held than the line and the engine may hold; the rest waits in Kafka and is answered too."""
    at = await place(
        partitions=1,
        simulated={"itl_ms": 20, "max_running": 4},  # slow beside what publishes
        worker={"max_waiting_requests": 8, "flush_interval_ms": 0},
    )
    count = 60
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    held = []
    async with at.worker():
        sample = at.metrics.registry.get_sample_value
        while (fetched := sample("pelton_requests_fetched_total") or 0) < count:
            held.append(fetched - (sample("pelton_requests_finished_total", {"code": "ok"}) or 0))
            await asyncio.sleep(0.005)
        assert len(await client.read(at.replies, count)) == count
    # The line, a polled batch at its door, the engine, and what is being published.
    assert max(held) <= 8 + 8 + 4 + 4


async def test_an_unreachable_broker_is_an_error_not_a_wait(place):
    """A worker that cannot reach its broker says so within its request time-out."""
    at = await place()
    kafka = at.settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(KafkaError, match=r"127\.0\.0\.1"):
        await asyncio.wait_for(ensure_topics(kafka), 15)


async def test_missing_topics_are_named(place):
    """Without kafka.create_topics a worker refuses to start and names what is missing and the fix."""
    at = await place()
    kafka = at.settings.kafka.model_copy(update={"create_topics": False, "reply_topic": "not-there"})
    with pytest.raises(TopicsMissing, match=r"not-there.*kafka\.create_topics"):
        await ensure_topics(kafka)
