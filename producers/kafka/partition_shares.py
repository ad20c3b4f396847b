"""A service's share of partitions: a group's member that reads nothing itself, and a processor for each partition.

Rebalances are eager: a join revokes everything for a moment. Nothing is stopped then; the assignment that follows tells
which partitions are lost.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import close_client, start_client, stop_consumer
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import reaching

log = logging.getLogger(__name__)

REBALANCE_MS = 30_000
POLL_MS = 1_000
SETTLE_S = 10.0
"""How long processors may take to end: a transaction that is being committed is let through."""


class Processor(Protocol):
    """Works on one partition until it is cancelled."""

    async def run(self) -> None: ...


class PartitionShares(ConsumerRebalanceListener):
    """Starts and ends processors as partitions come and go. Those that come back after a rebalance were never ended."""

    def __init__(
        self, processor_of: Callable[[TopicPartition], Processor], on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """`on_ready` is called with each assignment."""
        self._processor_of = processor_of
        self._on_ready = on_ready
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error of a processor that ended, or of another task that was noticed."""

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Nothing yet: most come back, and whoever else gets one shuts us out of it by starting its producer."""

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        ours = set(assigned)
        for partition in self._tasks.keys() - ours:
            self._end(partition)
        for partition in ours - self._tasks.keys():
            task = self._tasks[partition] = asyncio.create_task(self._processor_of(partition).run())
            task.add_done_callback(self.notice)
        log.info(
            "%d partitions of %s are ours", len(ours), ", ".join(sorted({place.topic for place in ours})) or "none"
        )
        self._on_ready()

    async def close(self) -> None:
        for partition in list(self._tasks):
            self._end(partition)
        if self._ending:
            await asyncio.wait(self._ending, timeout=SETTLE_S)

    def _end(self, partition: TopicPartition) -> None:
        task = self._tasks.pop(partition)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def notice(self, task: asyncio.Task[None]) -> None:
        """End the share with the error of a task that has ended, if it has one."""
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)


async def share(
    kafka: KafkaSettings, topics: Collection[str], shares: PartitionShares, *, group_id: str, client_id: str
) -> None:
    """Be a member of the group until it is cancelled; what is assigned is read by the processors, not here.

    Raises `BrokerUnreachable` at the start, and later the error of a processor that ended.
    """
    member = _member(kafka, group_id, client_id)
    member.subscribe(list(topics), listener=shares)
    try:
        with reaching(kafka):
            await _find_coordinator(kafka, group_id)
            await start_client(member)
        await _stay(member, shares)
    finally:
        await shares.close()  # before the group is left: what is being committed still is ours
        await stop_consumer(member)


async def _find_coordinator(kafka: KafkaSettings, group_id: str) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await start_client(admin)
        await ask_coordinator(partial(admin.find_coordinator, group_id))
    finally:
        await close_client(admin)


async def _stay(member: AIOKafkaConsumer, shares: PartitionShares) -> None:
    polling = asyncio.create_task(_poll(member))
    ending: tuple[asyncio.Future[Any], ...] = (polling, shares.failed)
    try:
        await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        await (shares.failed if shares.failed.done() else polling)
    finally:
        polling.cancel()
        await asyncio.wait([polling])


async def _poll(member: AIOKafkaConsumer) -> None:
    """For ever: a member that does not poll is put out of its group."""
    while True:
        member.pause(*member.assignment())
        try:
            await member.getmany(timeout_ms=POLL_MS, max_records=1)
        except KafkaError as error:
            log.warning("the group's consumer: %r", error)
            await asyncio.sleep(POLL_MS / 1000)


def _member(kafka: KafkaSettings, group_id: str, client_id: str) -> AIOKafkaConsumer:
    # A join is answered when the slowest member has joined; given up before, each retry is a new member.
    options = kafka.client_options() | {"request_timeout_ms": REBALANCE_MS + 10_000}
    return AIOKafkaConsumer(
        **options,
        client_id=client_id,
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, kafka.session_timeout_ms // 3),
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=3_600_000,
        max_partition_fetch_bytes=1_024,  # nothing is read here, and a record fetched by chance is thrown away
    )
