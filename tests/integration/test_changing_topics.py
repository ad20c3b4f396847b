"""What was true once is not believed for ever: topics deleted, grown and made anew, and offsets that fit no log."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from pelton.pipeline.wire import contract
from tests.replies import error_code


def correlations(records: list[Any]) -> set[bytes]:
    return {dict(record.headers)["kafka_correlationId"] for record in records}


def named(index: int) -> tuple[str, bytes]:
    return "kafka_correlationId", str(index).encode()


async def gone(admin: AIOKafkaAdminClient, topic: str) -> None:
    await admin.delete_topics([topic])
    async with asyncio.timeout(60):
        while topic in await admin.list_topics():  # noqa: ASYNC110  # the broker tells nobody when it is done
            await asyncio.sleep(0.1)


async def test_a_deleted_reply_topic_holds_up_nobody(place, client, chat_body, admin, caplog):
    """Its replies go to the default topic, those of the same partition come too, and the log stays readable."""
    at = await place(partitions=1, kafka={"reply_topics_allowed": ("own-.*",)})
    own = f"own-{at.requests}"
    await admin.create_topics([NewTopic(own, 1, 1)])
    async with at.worker():
        await client.send(at.requests, chat_body("first"), [named(0), (contract.REPLY_TOPIC, own.encode())])
        await client.read(own, 1)
        await gone(admin, own)
        await client.send(at.requests, chat_body("second"), [named(1), (contract.REPLY_TOPIC, own.encode())])
        for index in range(2, 12):
            await client.send(at.requests, chat_body(str(index)), [named(index)])
        replies = await client.read(at.replies, 11, 30)
    assert correlations(replies) == {str(index).encode() for index in range(1, 12)}
    assert len([line for line in caplog.records if line.name.startswith("pelton")]) < 60


async def test_a_reply_topic_deleted_during_generation_holds_up_nobody(place, client, chat_body, admin):
    """The answer was on its way to a topic that is gone when it is ready: it goes to the default one."""
    slow = {"min_output_tokens": 60, "mean_output_tokens": 60, "itl_ms": 100}
    at = await place(partitions=1, kafka={"reply_topics_allowed": ("own-.*",)}, simulated=slow)
    own = f"own-{at.requests}"
    await admin.create_topics([NewTopic(own, 1, 1)])
    async with at.worker():
        await client.send(at.requests, chat_body("first"), [named(0), (contract.REPLY_TOPIC, own.encode())])
        async with asyncio.timeout(60):
            while not at.metrics.running_requests._value.get():  # noqa: ASYNC110  # a figure has no event
                await asyncio.sleep(0.02)
        await gone(admin, own)
        replies = await client.read(at.replies, 1, 30)
    assert [error_code(reply) for reply in replies] == [None]


async def test_a_grown_reply_topic_is_used_within_seconds(place, client, chat_body, admin):
    """A request that names one of the new partitions has its answer there."""
    at = await place(partitions=1)
    async with at.worker():
        await client.send(at.requests, chat_body("first"), [named(0)])
        await client.read(at.replies, 1)
        await admin.create_partitions({at.replies: NewPartitions(total_count=4)})
        async with asyncio.timeout(60):
            while len((await admin.describe_topics([at.replies]))[0]["partitions"]) < 4:  # noqa: ASYNC110  # as in `gone`
                await asyncio.sleep(0.1)
        wanted = (contract.REPLY_PARTITION, (3).to_bytes(4, "big"))
        outcomes: list[tuple[int, str | None]] = [(0, None)]
        async with asyncio.timeout(60):  # the worker asks for the same topic once in a second
            while outcomes[-1] != (3, None):
                number = len(outcomes)
                await client.send(at.requests, chat_body("second"), [named(number), wanted])
                replies = await client.read(at.replies, number + 1, 10)
                (reply,) = [each for each in replies if correlations([each]) == {str(number).encode()}]
                outcomes.append((reply.partition, error_code(reply)))
    assert {refused for _, refused in outcomes[1:-1]} <= {"invalid_header"}


async def test_internal_topics_are_never_replied_to(place, client, chat_body):
    """Whatever is allowed: the request is refused by name, and its partition goes on."""
    at = await place(partitions=1, kafka={"reply_topics_allowed": (".*",)})
    async with at.worker():
        for index, topic in enumerate((b"__consumer_offsets", b"__transaction_state")):
            await client.send(at.requests, chat_body("odd"), [named(index), (contract.REPLY_TOPIC, topic)])
        await client.send(at.requests, chat_body("good"), [named(2)])
        replies = await client.read(at.replies, 3)
    codes = {dict(reply.headers)["kafka_correlationId"]: error_code(reply) for reply in replies}
    assert codes == {b"0": "reply_topic_not_allowed", b"1": "reply_topic_not_allowed", b"2": None}


async def test_an_offset_beyond_the_end_starts_from_the_log(place, client, chat_body, caplog):
    """As after a restore: all that the log has is answered, and the log says why."""
    at = await place(partitions=1)
    partition = TopicPartition(at.requests, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=at.bootstrap, group_id=at.settings.kafka.group_id, enable_auto_commit=False
    ) as consumer:
        consumer.assign([partition])
        await consumer.commit({partition: 100})
    for index in range(10):
        await client.send(at.requests, chat_body(str(index)), [named(index)])
    async with at.worker():
        replies = await client.read(at.replies, 10)
    assert correlations(replies) == {str(index).encode() for index in range(10)}
    (line,) = [record.getMessage() for record in caplog.records if "another log" in record.getMessage()]
    assert f"offset 100 of topic {at.requests}, partition 0, whose log ends at 10" in line


async def test_a_request_topic_made_anew_is_served_again_within_seconds(place, client, chat_body, admin):
    """With fewer records than the old one had, which look answered: they are not."""
    at = await place(partitions=2)
    async with at.worker():
        for index in range(40):
            await client.send(at.requests, chat_body(str(index)), [named(index)], partition=index % 2)
        await client.read(at.replies, 40)
        await gone(admin, at.requests)
        await admin.create_topics([NewTopic(at.requests, 2, 1)])
        async with asyncio.timeout(60):
            while at.requests not in await admin.list_topics():  # noqa: ASYNC110  # as in `gone`
                await asyncio.sleep(0.1)
        for index in range(40, 50):
            await client.send(at.requests, chat_body(str(index)), [named(index)], partition=index % 2)
        replies = await client.read(at.replies, 50, 30)
    assert correlations(replies) == {str(index).encode() for index in range(50)}


async def made_anew(admin: AIOKafkaAdminClient, topic: str) -> None:
    await gone(admin, topic)
    await admin.create_topics([NewTopic(topic, 1, 1)])
    async with asyncio.timeout(60):
        while topic not in await admin.list_topics():  # noqa: ASYNC110  # as in `gone`
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("running", [True, False], ids=["under a worker", "between workers"])
async def test_what_an_old_topics_commit_covers_is_answered_in_the_new_one(place, client, chat_body, admin, running):
    """It has more records than the old one before anybody looks: only its id tells that it is another."""
    at = await place(partitions=1)
    async with at.worker():
        for index in range(5):
            await client.send(at.requests, chat_body(str(index)), [named(index)])
        await client.read(at.replies, 5)
        if running:
            await made_anew(admin, at.requests)
            for index in range(5, 25):
                await client.send(at.requests, chat_body(str(index)), [named(index)])
            replies = await client.read(at.replies, 25, 30)
    if not running:
        await made_anew(admin, at.requests)
        for index in range(5, 25):
            await client.send(at.requests, chat_body(str(index)), [named(index)])
        async with at.worker():
            replies = await client.read(at.replies, 25, 30)
    assert correlations(replies) == {str(index).encode() for index in range(25)}
