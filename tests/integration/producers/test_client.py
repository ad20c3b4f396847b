"""The client against a real broker, with a stand-in for the worker."""

import asyncio
import contextlib
import time

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pelton.pipeline.errors import ModelNotFound
from pelton.producers import InferenceClient, ReplyError, ReplyTimeout
from pelton.producers.errors import BrokerUnreachable, RepliesUnreadable, SendFailed, TopicMissing

LIMIT = "max.message.bytes"


def asking(content):
    return {"model": "default", "messages": [{"role": "user", "content": content}]}


def answer(reply):
    return reply.completion().choices[0].message.content


async def test_a_question_gets_its_answer(kafka, stand_in):
    """The request carries the body, an id, and the place of the reply in Spring's form; the reply is parsed."""
    async with stand_in() as worker, InferenceClient(kafka, reply_partition=2) as client:
        completion = await client.complete(
            [{"role": "user", "content": "hello"}], temperature=0, tenant="acme", deadline_ms=1_900_000_000_000
        )
        await worker.wait_seen(1)
    assert completion.choices[0].message.content == "echo: hello"
    (request,) = worker.seen
    assert orjson.loads(request.value) == {**asking("hello"), "temperature": 0}
    headers = dict(request.headers)
    assert len(headers.pop("kafka_correlationId")) == 32
    assert headers == {
        "kafka_replyTopic": kafka.reply_topic.encode(),
        "kafka_replyPartition": b"\0\0\0\2",
        "pelton-tenant": b"acme",
        "pelton-deadline": b"1900000000000",
    }


async def test_a_session_is_header_and_key(kafka, stand_in):
    """All requests of a session go to one partition, where they stay in order; others have no key."""
    async with stand_in() as worker, InferenceClient(kafka) as client:
        for _ in range(5):
            await client.complete([{"role": "user", "content": "hello"}], session="chat-1")
        await client.complete([{"role": "user", "content": "hello"}])
    *turns, plain = worker.seen
    assert {(record.key, dict(record.headers)["pelton-session"]) for record in turns} == {(b"chat-1", b"chat-1")}
    assert len({record.partition for record in turns}) == 1
    assert plain.key is None
    assert "pelton-session" not in dict(plain.headers)


async def test_what_is_sent_at_once_in_a_session_stays_in_order(place):
    """Also before the producer knows the topic, and where a small record would still fit where a large one did not."""
    at = await place(partitions=2)
    async with InferenceClient(at.settings.kafka) as client:
        sending = []
        for number in range(40):
            body = asking("a long one " * 9_000 if number % 3 else "a short one")
            sending.append(asyncio.create_task(client.send(body, correlation_id=b"%d" % number, session="chat-1")))
            await asyncio.sleep(0)
        stored = await asyncio.gather(*sending)
    assert len({each.partition for each in stored}) == 1
    assert [each.offset for each in stored] == list(range(len(stored)))


async def test_with_the_real_worker(place):
    """Client and worker understand each other: an answer, a refusal, and where each came from."""
    at = await place()
    async with at.worker(), InferenceClient(at.settings.kafka) as client:
        completion = await client.complete(
            [{"role": "user", "content": "hello"}], max_completion_tokens=8, timeout_s=60
        )
        assert completion.usage.completion_tokens <= 8
        with pytest.raises(ReplyError) as raised:
            await client.complete([{"role": "user", "content": "hello"}], timeout_s=60, colour="blue")
        assert (raised.value.code, raised.value.param) == ("unknown_parameter", "colour")
        reply = await client.request(asking("hello"), timeout_s=60)
        assert reply.headers["pelton-source"].startswith(at.requests.encode())


async def test_an_error_reply_is_raised(kafka, stand_in):
    """The error carries all its sender said, and the HTTP status its code stands for."""
    refusal = ModelNotFound("No such model here.", param="model").body()
    async with stand_in(lambda _: [orjson.dumps(refusal)]), InferenceClient(kafka) as client:
        with pytest.raises(ReplyError, match=r"No such model here\.") as raised:
            await client.complete([{"role": "user", "content": "hello"}], model="nobody")
    error = raised.value
    assert (error.code, error.param, error.status, error.body) == ("model_not_found", "model", 404, refusal)


@pytest.mark.parametrize("value", [b"", b"no json", b"[]", b"{}", b'{"error": "so"}'])
async def test_a_reply_that_is_neither_answer_nor_error(value, kafka, stand_in):
    """Whatever a stranger writes to the reply topic becomes a `ReplyError`, never a parser's exception."""
    async with stand_in(lambda _: [value]), InferenceClient(kafka) as client:
        with pytest.raises(ReplyError, match="cannot be read") as raised:
            await client.complete([{"role": "user", "content": "hello"}])
    assert raised.value.code == "invalid_reply"


async def test_no_reply_in_time(kafka):
    """Without a worker the wait ends when it was told to."""
    async with InferenceClient(kafka) as client:
        started = time.monotonic()
        with pytest.raises(ReplyTimeout, match=r"within 0\.3 s"):
            await client.complete([{"role": "user", "content": "hello"}], timeout_s=0.3)
        assert time.monotonic() - started < 2


async def test_replies_to_others_are_left_alone(kafka, stand_in):
    """Two clients on one partition, with strangers' records between theirs, get their own replies and no others."""
    async with (
        stand_in(),
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as stranger,
        InferenceClient(kafka, reply_partition=1) as one,
        InferenceClient(kafka, reply_partition=1) as other,
    ):

        async def ask(client, name):
            await stranger.send(kafka.reply_topic, b"?", partition=1, headers=[("kafka_correlationId", b"else's")])
            await stranger.send(kafka.reply_topic, b"?", partition=1)
            return answer(await client.request(asking(name), timeout_s=60))

        names = [f"question {number}" for number in range(40)]
        answers = await asyncio.gather(*(ask((one, other)[i % 2], name) for i, name in enumerate(names)))
    assert answers == [f"echo: {name}" for name in names]


async def test_only_committed_replies_count(kafka, stand_in, answer_with):
    """A reply in a transaction that is aborted is none; the one that is committed later is taken."""
    async with (
        stand_in(lambda _: []) as worker,
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=kafka.reply_topic) as producer,
        InferenceClient(kafka) as client,
    ):
        asked = asyncio.create_task(client.request(asking("hello"), timeout_s=60))
        await worker.wait_seen(1)
        await producer.begin_transaction()
        await worker.reply(producer, worker.seen[0], [answer_with.completion("aborted")])
        await producer.flush()
        await producer.abort_transaction()
        async with producer.transaction():
            await worker.reply(producer, worker.seen[0], [answer_with.completion("committed")])
        assert answer(await asked) == "committed"


async def test_many_requests_are_bounded_in_flight(kafka, stand_in):
    """Each of many bodies, objects or bytes, is answered once under its index, never too many of them at a time."""
    read = taken = most = 0

    async def bodies():
        nonlocal read
        for number in range(300):
            read += 1
            yield asking(str(number)) if number % 2 else orjson.dumps(asking(str(number)))

    answers = {}
    async with stand_in(), InferenceClient(kafka) as client:
        async for reply in client.submit_many(bodies(), max_in_flight=16, timeout_s=60):
            most = max(most, read - taken)
            taken += 1
            answers[reply.index] = answer(reply)
    assert answers == {number: f"echo: {number}" for number in range(300)}
    assert taken == 300
    assert 1 < most <= 16


async def test_leaving_a_stream_early(kafka, stand_in):
    """Closing the iterator ends the requests under way; the client can go on."""
    async with stand_in(), InferenceClient(kafka) as client:
        async with contextlib.aclosing(client.submit_many([asking("a")] * 50, max_in_flight=8)) as replies:
            first = await anext(replies)
        assert answer(first) == "echo: a"
        assert answer(await client.request(asking("b"), timeout_s=60)) == "echo: b"


async def test_a_body_beyond_the_clients_limit_is_answered_on_the_spot(kafka, stand_in):
    """A stream with one body that no record can hold goes on; that one's reply is `request_too_large`."""
    bodies = [asking("a"), asking("x" * 1_100_000), asking("b")]
    async with stand_in() as worker, InferenceClient(kafka) as client:
        replies = {reply.index: reply async for reply in client.submit_many(bodies, timeout_s=60)}
        await worker.wait_seen(2)
    assert answer(replies[0]) == "echo: a"
    assert replies[1].error.code == "request_too_large"
    assert answer(replies[2]) == "echo: b"
    assert len(worker.seen) == 2


@pytest.fixture
async def small_topic(kafka, admin):
    """A topic of one partition that takes records of up to 2,000 bytes."""
    topic = f"{kafka.request_topics[0]}-small"
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={LIMIT: "2000"})])
    yield topic
    await admin.delete_topics([topic])


async def test_a_topic_with_a_limit_of_its_own(kafka, small_topic):
    """The topic's own limit is heeded, and named in the refusal."""
    async with InferenceClient(kafka, topic=small_topic) as client:
        reply = await client.request(asking("x" * 2_000), timeout_s=60)
        assert reply.error.code == "request_too_large"
        assert "2,000" in reply.error.message
        await client.send(asking("x"), correlation_id=b"fits")


async def test_the_client_outlives_a_failed_send(kafka, small_topic, admin):
    """What the broker refuses fails alone: the requests after it are stored, none twice."""
    async with InferenceClient(kafka, topic=small_topic) as client:
        await client.send(asking("x"), correlation_id=b"first")
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, small_topic, {LIMIT: "500"})])
        for number in range(1, 3):
            with pytest.raises(SendFailed, match="did not acknowledge"):
                await client.request(asking("x" * 1_000), timeout_s=60)
            stored = await client.send(asking("x"), correlation_id=b"%d" % number)
            assert (stored.partition, stored.offset) == (0, number)


async def test_closing_the_client_ends_the_wait(kafka):
    """Who still waits when the client is closed is told so."""
    async with InferenceClient(kafka) as client:
        asked = asyncio.create_task(client.request(asking("hello")))
        await asyncio.sleep(0)
    with pytest.raises(RepliesUnreadable, match="closed"):
        await asked


@pytest.mark.parametrize("missing", ["request_topics", "reply_topic"])
async def test_a_missing_topic(missing, kafka, admin):
    """Named soon, with what to do, and not created by the asking."""
    name = f"missing-{kafka.reply_topic}"
    wrong = kafka.model_copy(update={missing: (name,) if missing == "request_topics" else name})
    started = time.monotonic()
    with pytest.raises(TopicMissing, match=name):
        await InferenceClient(wrong).__aenter__()
    assert time.monotonic() - started < 8
    assert name not in await admin.list_topics()


async def test_a_reply_partition_that_does_not_exist(kafka):
    """Refused when the client opens, not by silence later."""
    with pytest.raises(RepliesUnreadable, match="no partition 7"):
        await InferenceClient(kafka, reply_partition=7).__aenter__()


async def test_no_broker(kafka):
    """The error names the address that was tried."""
    nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        await InferenceClient(nowhere).__aenter__()
