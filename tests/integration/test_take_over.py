"""What a take-over rests on, tried on the real broker: an owner is shut out, the position read after that is final."""

import asyncio
import random
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.transactions import NotAMember, TransactionalWriter
from pelton.workers.kafka.group import ConsumerGroup

TAKE_OVERS = 25


class Group:
    """The broker's view of a group that has no live members here: positions are real, membership is as told."""

    def __init__(self, admin: AIOKafkaAdminClient, group_id: str) -> None:
        self._admin = admin
        self._group_id = group_id
        self.member = True

    async def is_member(self) -> bool:
        return self.member

    async def progress(self, partition: TopicPartition) -> Progress | None:
        committed = (await self._admin.list_consumer_group_offsets(self._group_id, partitions=[partition]))[partition]
        return None if committed.offset < 0 else Progress.decode(committed.offset, committed.metadata)


@pytest.fixture
async def outlets(kafka_bootstrap):
    """Makes outlets that compete for one partition of a topic of their own."""
    name = f"take-over-{random.randrange(10**9)}"
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, group_id=name, reply_topic=f"{name}-replies")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1), NewTopic(kafka.reply_topic, 1, 1)])
    async with asyncio.timeout(60):
        while not await _has_coordinator(admin, name):  # noqa: ASYNC110  # a new broker has none yet
            await asyncio.sleep(0.1)
    partition = TopicPartition(name, 0)
    made = []

    def make() -> tuple[TransactionalWriter, Group]:
        group = Group(admin, name)
        made.append(TransactionalWriter(kafka, partition, cast(ConsumerGroup, group)))
        return made[-1], group

    yield make
    await asyncio.gather(*(outlet.close() for outlet in made))
    await admin.delete_topics([name, kafka.reply_topic])
    await admin.close()


async def _has_coordinator(admin: AIOKafkaAdminClient, group_id: str) -> bool:
    try:
        await admin.find_coordinator(group_id)
    except KafkaError:
        return False
    return True


def the_same_topic() -> asyncio.Future[bool]:
    """What a writer awaits before it commits."""
    known = asyncio.get_running_loop().create_future()
    known.set_result(True)
    return known


async def commit_until_shut_out(outlet: TransactionalWriter, topic: str, position: int) -> None:
    while True:
        position += 1
        record = OutgoingRecord(topic, str(position).encode(), b"key", ())
        await outlet.publish([record], Progress(position, position), the_same_topic())


async def test_a_former_owner_is_shut_out_and_the_position_read_after_is_final(outlets):
    """Taken over at any moment of its commits an owner commits nothing more, and its successor has the last word."""
    former, group = outlets()
    topic = former._kafka.reply_topic
    progress = await former.open()
    for _ in range(TAKE_OVERS):
        position = progress.position if progress else 0
        committing = asyncio.create_task(commit_until_shut_out(former, topic, position))
        await asyncio.sleep(random.uniform(0.01, 0.05))
        successor, _ = outlets()
        progress = await successor.open()
        with pytest.raises((KafkaError, TimeoutError)):
            await committing
        assert await group.progress(former._partition) == progress
        former = successor
    assert progress is not None
    assert progress.position > TAKE_OVERS


async def test_who_is_no_member_does_not_take_over(outlets):
    """A worker that the broker does not count into the group leaves the rightful owner alone."""
    owner, _ = outlets()
    await owner.open()
    zombie, group = outlets()
    group.member = False
    with pytest.raises(NotAMember):
        await zombie.open()
    record = OutgoingRecord(owner._kafka.reply_topic, b"reply", b"key", ())
    await owner.publish([record], Progress(1, 1), the_same_topic())
    group.member = True
    assert await zombie.open() == Progress(1, 1)


async def test_after_a_failure_nothing_is_published_before_a_new_take_over(outlets):
    """An outlet that is not open refuses to publish; opened again it goes on from what is committed."""
    outlet, _ = outlets()
    with pytest.raises(NotAMember):
        await outlet.publish([], Progress(1, 1), the_same_topic())
    assert await outlet.open() is None
    record = OutgoingRecord(outlet._kafka.reply_topic, b"reply", b"key", ())
    await outlet.publish([record], Progress(3, 7, (3, 5)), the_same_topic())
    await outlet.close()
    assert await outlet.open() == Progress(3, 7, (3, 5))
