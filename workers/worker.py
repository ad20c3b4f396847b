"""One worker process, from the model's load to the last commit."""

import asyncio
import contextlib
import logging
import re
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError

from pipeline.handoff import Handoff
from pipeline.headers import ReplyPolicy
from pipeline.lifecycle import Lifecycle, State
from pipeline.metrics import Metrics
from pipeline.offsets import OffsetTracker, Progress
from pipeline.settings import KafkaSettings, Settings
from pipeline.waiting import WaitingLine
from workers.assignment import Assignment
from workers.engines import Served
from workers.group import GroupView
from workers.guard import Guard
from workers.inference import Inference
from workers.intake import Intake
from workers.jobs import Ending, Job
from workers.outlets import AcknowledgedOutlet, Outlet, TransactionalOutlet
from workers.partition_publisher import Parcel, PartitionPublisher
from workers.preparing import Limits
from workers.publisher import Packer, Publisher
from workers.replies import Signature
from workers.topics import TopicDirectory

log = logging.getLogger(__name__)

ENDINGS_QUEUED = 1024
"""Endings that may wait to be published before the inference thread is held up."""
REBALANCE_MS = 60_000
"""How long a rebalance waits for its slowest member."""
CANCEL_S = 5.0
"""How long the engine may take to let go of what a drain cut off."""


class WorkerFailed(Exception):
    """A part of the worker ended that must not; the worker cannot go on and its records go to another."""


class Worker:
    """Joins intake, line, engine and publisher. Make it on the loop that runs it."""

    def __init__(
        self,
        settings: Settings,
        served: Served,
        lifecycle: Lifecycle,
        metrics: Metrics,
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        self._guard = guard or Guard.of(settings.worker)
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._line: WaitingLine[Job] = WaitingLine(
            max_tokens=settings.worker.max_waiting_tokens, max_requests=settings.worker.max_waiting_requests
        )
        self._endings: Handoff[Ending] = Handoff(ENDINGS_QUEUED)
        self._inference = Inference(
            served.engine,
            self._line,
            self._endings,
            metrics,
            self._guard,
            share_prefixes=settings.engine.share_prefixes,
        )
        self._directory = TopicDirectory(settings.kafka)
        # The broker's list of members tells this worker from all others by it, its own former lives included.
        identity = self._guard.identity
        self._group = GroupView(settings.kafka, identity)
        self._consumer = _consumer(settings.kafka, identity)
        self._assignment = Assignment(self._publisher_of, self._endings.flush, self._abandon)
        packer = Packer(served.codec, Signature(served.model_name, identity), settings.kafka.group_id)
        self._publisher = Publisher(self._endings, packer, self._assignment, metrics)
        self._intake = Intake(
            consumer=self._consumer,
            assignment=self._assignment,
            directory=self._directory,
            policy=_reply_policy(settings.kafka),
            codec=served.codec,
            limits=Limits.of(
                settings.worker,
                model_name=served.model_name,
                context_length=served.engine.context_length,
                max_request_tokens=served.engine.max_request_tokens,
            ),
            line=self._line,
            endings=self._endings,
            metrics=metrics,
        )

    async def run(self) -> None:
        """Serve until the lifecycle is told to drain, then leave in good order.

        Raises `WorkerFailed` when a part of the worker fails, and `KafkaError` when the broker cannot be reached.
        """
        try:
            await self._directory.start()
            await self._group.start()
            self._consumer.subscribe(list(self._settings.kafka.request_topics), listener=self._assignment)
            await self._consumer.start()
            await self._serve()
        finally:
            self._lifecycle.advance(State.STOPPED)
            await self._consumer.stop()
            await self._assignment.close()
            await self._group.close()
            await self._directory.close()

    async def _serve(self) -> None:
        inference = self._inference.start()
        publishing = asyncio.create_task(self._publisher.run(self._settings.worker.flush_interval_ms / 1000))
        intake = asyncio.create_task(self._intake.run())
        sweep = asyncio.create_task(self._intake.sweep())
        leaving = asyncio.create_task(self._lifecycle.wait_leaving())
        parts = {
            "inference": inference,
            "publisher": publishing,
            "partition publishing": self._assignment.failed,
            "intake": intake,
            "deadline sweep": sweep,
        }
        try:
            self._lifecycle.advance(State.READY)
            await asyncio.wait([leaving, *parts.values()], return_when=asyncio.FIRST_COMPLETED)
            for name, part in parts.items():
                if part.done():
                    raise WorkerFailed(f"The worker's {name} ended: {part.exception()!r}") from part.exception()
            await self._drain(inference, publishing, intake)
        finally:
            self._line.close()
            self._endings.close()
            for task in (publishing, intake, sweep, leaving):
                task.cancel()
            await asyncio.gather(publishing, intake, sweep, leaving, return_exceptions=True)

    async def _drain(
        self, inference: asyncio.Future[None], publishing: asyncio.Task[None], intake: asyncio.Task[None]
    ) -> None:
        """Finish what runs; leave what waits, uncommitted, to the worker that reads it next."""
        deadline = time.monotonic() + self._settings.worker.drain_timeout_s
        self._intake.stop()
        left = self._line.close()
        await asyncio.wait([intake], timeout=deadline - time.monotonic())
        intake.cancel()
        await asyncio.wait([inference], timeout=max(0.0, deadline - time.monotonic()))
        cut_off = 0
        if not inference.done():
            cut_off = self._inference.abandon(lambda _: True)
            await asyncio.wait([inference], timeout=CANCEL_S)
        self._endings.close()
        _, unpublished = await asyncio.wait([publishing], timeout=max(CANCEL_S, deadline - time.monotonic()))
        log.info("drained: %d left waiting and %d cut off for another worker to answer", len(left), cut_off)
        if unpublished:
            log.warning("the last replies could not be published in time: another worker will answer again")

    def _abandon(self, lost: set[OffsetTracker]) -> None:
        self._line.remove_if(lambda place: place.item.ticket.tracker in lost)
        self._inference.abandon(lambda job: job.ticket.tracker in lost)

    def _publisher_of(self, partition: TopicPartition) -> PartitionPublisher:
        kafka = self._settings.kafka
        outlet: Outlet
        if kafka.delivery == "exactly_once":
            outlet = TransactionalOutlet(kafka, partition, self._group)
        else:
            outlet = AcknowledgedOutlet(kafka, partition, self._group, self._consumer)
        return PartitionPublisher(
            partition,
            outlet,
            on_open=self._fetch_from,
            on_published=self._published,
            on_failure=self._metrics.publish_failures.inc,
        )

    def _published(self, parcels: list[Parcel]) -> None:
        self._publisher.count(parcels)
        self._guard.suspects.settle(parcel.ending.ticket.record.source for parcel in parcels)

    def _fetch_from(self, partition: TopicPartition, progress: Progress | None) -> None:
        """Fetch from what is committed; where nothing is, the consumer starts with the oldest record by itself."""
        if progress is not None:
            self._guard.suspects.settle_if(
                lambda source: (source.topic, source.partition) == partition and progress.answered(source.offset)
            )
            with contextlib.suppress(IllegalStateError):  # just revoked: the next assignment starts from the commit
                self._consumer.seek(partition, progress.position)


def _reply_policy(kafka: KafkaSettings) -> ReplyPolicy:
    return ReplyPolicy(kafka.reply_topic, tuple(re.compile(pattern) for pattern in kafka.reply_topics_allowed))


def _consumer(kafka: KafkaSettings, client_id: str) -> AIOKafkaConsumer:
    """A group member that keeps its membership through long generations and a full line.

    The poll interval, which aiokafka counts on the client from the end of one `getmany` to the next, is an hour, and
    a rebalance gets time for a flush.
    """
    # A join is answered when the slowest member has joined; given up before, each retry is a new member.
    options = kafka.client_options() | {"request_timeout_ms": REBALANCE_MS + 10_000}
    return AIOKafkaConsumer(
        **options,
        client_id=client_id,
        group_id=kafka.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        partition_assignment_strategy=(_sticky_assignor(),),
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, kafka.session_timeout_ms // 3),
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=3_600_000,
    )


def _sticky_assignor() -> type[StickyPartitionAssignor]:
    """A class of this worker's own: aiokafka's assignor remembers its assignment on the class."""

    class WorkersAssignor(StickyPartitionAssignor):
        pass

    return WorkersAssignor
