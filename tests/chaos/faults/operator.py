"""What operators do to topics and offsets of a running system, and an account of what each record is due then."""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError, KafkaError

from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.group import ConsumerGroup
from tests.chaos import logs
from tests.chaos.fleet import Fleet
from tests.chaos.history import Acts, Reply, Stored

log = logging.getLogger(__name__)

AGAIN_S = 0.5
STILL_S = 0.5
"""A log that has not grown for so long, while all who write to it stand still, does not grow any more."""
BEYOND = 100_000
MOVED_PARTITIONS = 3
MAX_BACK = 60
_Done = TypeVar("_Done")


async def insist(act: Callable[[], Awaitable[_Done]]) -> _Done:
    """Do it as soon as the broker lets us."""
    while True:
        try:
            return await act()
        except (KafkaError, OSError, TimeoutError, AssertionError, logs.LogStuck) as error:
            log.info("an operator's act failed, trying again: %r", error)
            await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def administering(kafka: KafkaSettings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


class Operator:
    """Acts one after the other, and keeps the account."""

    def __init__(self, kafka: KafkaSettings, fleet: Fleet) -> None:
        self._kafka = kafka
        self._fleet = fleet
        self._kept: list[Reply] = []
        self._void: list[Stored] = []
        self._gone: set[str] = set()
        self._again: Counter[str] = Counter()
        self._away: list[tuple[int, int]] = []

    @property
    def acts(self) -> Acts:
        void = frozenset(record.source for record in self._void)
        return Acts(frozenset(self._gone), dict(self._again), void, tuple(self._away))

    @property
    def kept(self) -> list[Reply]:
        """Committed replies of topics that were deleted."""
        return self._kept

    @property
    def void(self) -> list[Stored]:
        """Requests of topics that were deleted, each with the number of its topic's life in its source."""
        return self._void

    async def renew_reply_topic(self, topic: str, partitions: int, away_s: float) -> None:
        """Delete a topic that holds replies, and make it anew.

        Workers stand still while it is read for the last time and deleted, so that all that is deleted has been seen.
        (A topic cannot be made to refuse writes: brokers need no more replicas for one than there are.) What an open
        transaction holds of it may be on its way to commit: it counts as given, but not as given once more.
        """
        with self._fleet.standing_still():
            await self._wait_until_still(topic)
            committed = [logs.reply(record) for record in await insist(lambda: self._now(topic, "read_committed"))]
            seen = [logs.reply(record) for record in await insist(lambda: self._now(topic, "read_uncommitted"))]
            self._kept += committed
            given = Counter(reply.source for reply in seen) - Counter(reply.source for reply in committed)
            self._gone |= given.keys()
            began_ms = _now_ms()
            await insist(lambda: self._delete(topic))
        await asyncio.sleep(away_s)
        await insist(lambda: self._create(topic, partitions))
        self._away.append((began_ms, _now_ms()))

    async def _wait_until_still(self, topic: str) -> None:
        """Until the broker has appended what was under way to it."""
        before, now = None, await insist(lambda: logs.ends(self._kafka, topic))
        while now != before:
            await asyncio.sleep(STILL_S)
            before, now = now, await insist(lambda: logs.ends(self._kafka, topic))

    async def renew_request_topic(self, topic: str, life: int, partitions: int, away_s: float) -> None:
        """Delete a topic of requests to which nobody writes now, and make it anew: what waits in it is lost by that."""
        records = await insist(lambda: self._now(topic, "read_uncommitted"))
        self._void += [logs.stored(record, life) for record in records]
        await insist(lambda: self._delete(topic))
        await asyncio.sleep(away_s)
        await insist(lambda: self._create(topic, partitions))

    async def grow(self, topic: str, by: int) -> range:
        """Add partitions; return their numbers."""
        before = await insist(lambda: self._count(topic))
        await insist(lambda: self._grow(topic, before + by))
        return range(before, before + by)

    async def move_offsets(self, rng: random.Random, *, beyond: bool) -> None:
        """Stop all workers, move what is committed of some partitions, and let the workers start again."""
        await self._fleet.hold()
        try:
            await self.wait_for_members(0)
            for partition in rng.sample(range(self._kafka.partitions), MOVED_PARTITIONS):
                place = TopicPartition(self._kafka.request_topics[0], partition)
                await self._move(place, rng, beyond=beyond)
        finally:
            self._fleet.let_go()

    async def _move(self, place: TopicPartition, rng: random.Random, *, beyond: bool) -> None:
        end = (await insist(lambda: logs.ends(self._kafka, place.topic)))[place]
        before = await insist(lambda: self._progress(place))
        if before is None or before.position == 0 or before.horizon > end:  # nothing was answered since the last move
            return
        back = max(0, before.position - rng.randint(1, MAX_BACK))
        await insist(lambda: self._commit(place, end + BEYOND if beyond else back))
        first = 0 if beyond else back
        answered = [offset for offset in range(first, before.horizon) if before.answered(offset)]
        self._again.update(f"{place.topic}-{place.partition}-{offset}" for offset in answered)
        log.info("%s: committed %d instead of %d", place, end + BEYOND if beyond else back, before.position)

    async def wait_for_members(self, count: int) -> None:
        """Until the group has so many."""

        async def look() -> None:
            async with administering(self._kafka) as admin:
                answers = await admin.describe_consumer_groups([self._kafka.group_id])
            if (members := len(answers[0].groups[0][5])) != count:
                raise TimeoutError(f"the group has {members} members")

        await insist(look)

    async def _progress(self, place: TopicPartition) -> Progress | None:
        group = ConsumerGroup(self._kafka, "operator")
        await group.start()
        try:
            return await group.progress(place)
        finally:
            await group.close()

    async def _commit(self, place: TopicPartition, offset: int) -> None:
        consumer = AIOKafkaConsumer(
            **self._kafka.client_options(), group_id=self._kafka.group_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([place])
            async with asyncio.timeout(10):
                await consumer.commit({place: offset})
        finally:
            await consumer.stop()

    async def _now(self, topic: str, isolation: str) -> Sequence[Any]:
        return await logs.read_log(self._kafka, topic, isolation, open_ones=False)

    async def _delete(self, topic: str) -> None:
        async with administering(self._kafka) as admin:
            while topic in await admin.list_topics():
                await admin.delete_topics([topic])
                await asyncio.sleep(0.2)

    async def _create(self, topic: str, partitions: int) -> None:
        async with administering(self._kafka) as admin:
            while topic not in await admin.list_topics():
                await admin.create_topics([NewTopic(topic, partitions, 1)])
                await asyncio.sleep(0.2)

    async def _count(self, topic: str) -> int:
        async with administering(self._kafka) as admin:
            return len((await admin.describe_topics([topic]))[0]["partitions"])

    async def _grow(self, topic: str, count: int) -> None:
        async with administering(self._kafka) as admin:
            while len((await admin.describe_topics([topic]))[0]["partitions"]) < count:
                with contextlib.suppress(InvalidPartitionsError):  # it has them, which is not told everywhere yet
                    await admin.create_partitions({topic: NewPartitions(total_count=count)})
                await asyncio.sleep(0.2)


def _now_ms() -> int:
    return round(time.time() * 1000)
