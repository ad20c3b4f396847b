"""One worker process, from the model's load to the last commit."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import Progress
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.loading import Settings
from pelton.workers.cancellation.cancel_topic import Cancels, CancelTopicReader
from pelton.workers.cancellation.canceller import Canceller
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.delivery.backlog import BacklogMeter
from pelton.workers.delivery.linger import LingerPolicy
from pelton.workers.delivery.log_watch import LogWatch
from pelton.workers.delivery.partition_publisher import PartitionPublisher
from pelton.workers.delivery.publisher import Publisher
from pelton.workers.delivery.redirects import Redirects
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.delivery.reply_records import WorkerIdentity
from pelton.workers.delivery.transactions import AtLeastOnceWriter, PartitionWriter, TransactionalWriter
from pelton.workers.figures import FiguresLog
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.inference.thread import Inference
from pelton.workers.intake.admission import Admission
from pelton.workers.intake.poller import Poller
from pelton.workers.intake.reply_addresses import ReplyAddresses
from pelton.workers.kafka.consumers import request_consumer
from pelton.workers.kafka.group import ConsumerGroup
from pelton.workers.kafka.log_ranges import LogRanges
from pelton.workers.kafka.topics import TopicDirectory
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.requests import OutgoingReply, PreparedRequest, Result
from pelton.workers.served_model import ServedModel
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sessions.fences import Fences
from pelton.workers.sharing.sharing import Sharing
from pelton.workers.streaming.stream_writer import StreamWriter

log = logging.getLogger(__name__)

ENDINGS_QUEUED = 1024
"""Endings that may wait to be published before the inference thread is held up."""
CANCEL_S = 5.0
"""How long intake and engine may take to let go of what a drain cuts off."""
LEAVE_S = 5.0
"""How long the broker may take to hear that a member leaves; it finds out by itself when the session has run out."""


class WorkerFailed(Exception):
    """A part of the worker ended that must not; the worker cannot go on and its records go to another."""


class Worker:
    """Joins intake, line, engine and publisher. Make it on the loop that runs it."""

    def __init__(
        self,
        settings: Settings,
        served: ServedModel,
        lifecycle: Lifecycle,
        metrics: Metrics,
        guard: CrashProtection | None = None,
    ) -> None:
        self._settings = settings
        self._guard = guard or CrashProtection.of(settings.worker)
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._line: RequestQueue[PreparedRequest] = RequestQueue(
            max_tokens=settings.worker.max_waiting_tokens, max_requests=settings.worker.max_waiting_requests
        )
        patience = LingerPolicy(self._line, served.engine, settings.worker.flush_interval_ms / 1000)
        self._endings: LingerQueue[Result] = LingerQueue(ENDINGS_QUEUED, patience)
        self._cancels = Cancels(settings.kafka.tenant_policy())
        self._sharing = Sharing.of(settings, self._line, self._endings, metrics)
        self._directory = TopicDirectory(settings.kafka)
        self._streams = StreamWriter(settings.kafka, served.codec, self._directory, served.model_name)
        self._inference = Inference(
            served.engine,
            self._line,
            self._endings,
            metrics,
            self._guard,
            share_prefixes=settings.engine.share_prefixes,
            cleared=self._sharing.clearance.of,
            listen=self._streams.listen,
        )
        self._redirects = Redirects(settings.kafka, self._directory)
        self._ranges = LogRanges(settings.kafka)
        # The broker's list of members tells this worker from all others by it, its own former lives included.
        identity = self._guard.identity
        self._group = ConsumerGroup(settings.kafka, identity)
        self._session_store = SessionStore(settings.cache, settings.session)
        fences = Fences(self._session_store, settings.kafka.group_id, self._group.is_member)
        self._sessions = SessionCoordinator.of(settings, self._session_store, fences, self._endings)
        self._withdrawal = Canceller(
            line=self._line,
            flights=self._sharing.flights,
            inference=self._inference,
            sessions=self._sessions,
            cancels=self._cancels,
            endings=self._endings,
            metrics=metrics,
        )
        self._sharing.flights.on_unwanted = self._withdrawal.stop
        self._cancel_feed = CancelTopicReader(settings.kafka, self._cancels, self._withdrawal.cancel)
        self._consumer = request_consumer(settings.kafka, identity)
        self._assignment = Assignment(self._publisher_of, self._endings.flush, self._withdrawal.abandon)
        self._publisher = Publisher(
            endings=self._endings,
            packer=ReplyBuilder(served.codec, WorkerIdentity(served.model_name, identity), settings.kafka.group_id),
            assignment=self._assignment,
            flights=self._sharing.flights,
            recall=self._sharing.recall,
            sessions=self._sessions,
        )
        interval_s = settings.worker.figures_interval_s
        self._figures = FiguresLog(metrics, self._guard.steps, interval_s, on_cpu=served.on_cpu)
        self._backlog = BacklogMeter()
        self._counts = ReplyCounts(metrics, self._sharing.recall, self._backlog)
        self._intake = self._make_intake(served)
        self._sessions.pass_on = self._publisher.pass_on_turn

    async def run(self) -> None:
        """Serve until the lifecycle is told to drain, then leave in good order.

        Raises `WorkerFailed` when a part of the worker fails, and `KafkaError` when the broker cannot be reached.
        """
        try:
            await self._directory.start()
            await self._group.start()
            await self._ranges.start()
            await self._cancel_feed.start()
            await self._sharing.cache.start()
            self._consumer.subscribe(list(self._settings.kafka.request_topics), listener=self._assignment)
            await self._consumer.start()
            await self._serve()
        finally:
            self._lifecycle.advance(State.STOPPED)
            await self._leave_group()
            await self._assignment.close()
            await self._group.close()
            await self._ranges.close()
            await self._cancel_feed.stop()
            await self._sharing.cache.close()
            await self._session_store.close()
            await self._directory.close()

    async def _leave_group(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._consumer.stop()
        except TimeoutError:
            log.warning(
                "the broker does not answer: the group %s waits for this worker's session to run out (%d ms)",
                self._settings.kafka.group_id, self._settings.kafka.session_timeout_ms,
            )  # fmt: skip

    async def _serve(self) -> None:
        running: dict[str, Coroutine[Any, Any, None]] = {
            "publisher": self._publisher.run(),
            "intake": self._intake.run(),
            "sweep": self._withdrawal.sweep(),
            "feed of cancels": self._cancel_feed.run(),
            "clearance": self._sharing.clearance.run(),
            "session histories": self._sessions.read(),
            "session turns": self._sessions.write(),
            "partial text": self._streams.run(),
            "watch over the logs": LogWatch(self._ranges, self._assignment, self._backlog, self._metrics).run(),
            "figures": self._figures.run(),
        }
        tasks = {name: asyncio.create_task(part) for name, part in running.items()}
        leaving = asyncio.create_task(self._lifecycle.wait_leaving())
        inference = self._inference.start()
        parts = {**tasks, "inference": inference, "partition publishing": self._assignment.failed}
        try:
            self._lifecycle.advance(State.READY)
            await asyncio.wait([leaving, *parts.values()], return_when=asyncio.FIRST_COMPLETED)
            for name, part in parts.items():
                if part.done():
                    raise WorkerFailed(f"The worker's {name} ended: {part.exception()!r}") from part.exception()
            await self._drain(inference, tasks)
        finally:
            self._line.close()
            self._endings.close()
            for task in (*tasks.values(), leaving):
                task.cancel()
            await asyncio.gather(*tasks.values(), leaving, return_exceptions=True)

    async def _drain(self, inference: asyncio.Future[None], tasks: dict[str, asyncio.Task[None]]) -> None:
        """Finish what runs; leave what waits, uncommitted, to the worker that reads it next."""
        intake, publishing = tasks["intake"], tasks["publisher"]
        tasks["clearance"].cancel()
        tasks["session histories"].cancel()
        deadline = time.monotonic() + self._settings.worker.drain_timeout_s
        self._intake.stop()
        left = self._line.close()
        # A poll ends by itself; waiting for room, which nobody makes any more, does not.
        await asyncio.wait([intake], timeout=min(CANCEL_S, deadline - time.monotonic()))
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

    def _make_intake(self, served: ServedModel) -> Poller:
        limits = RequestLimits.of(self._settings.worker, served.model_name, served.engine)
        keyring = CacheKeyBuilder.of(self._settings.cache, served.model_name, served.fingerprint, limits)
        policy = self._settings.kafka.reply_policy()
        reception = Admission(
            addresses=ReplyAddresses(self._directory, policy),
            codec=served.codec,
            limits=limits,
            keyring=keyring,
            recall=self._sharing.recall,
            cancels=self._cancels,
            flights=self._sharing.flights,
            sessions=self._sessions,
            continuing=SessionPrompts.of(self._settings.session, served.codec, limits, keyring),
            line=self._line,
            endings=self._endings,
        )
        self._sessions.go_on = reception.continue_sessions
        return Poller(
            consumer=self._consumer,
            assignment=self._assignment,
            policy=policy,
            sessions=self._sessions,
            reception=reception,
            metrics=self._metrics,
        )

    def _publisher_of(self, partition: TopicPartition) -> PartitionPublisher:
        kafka = self._settings.kafka
        outlet: PartitionWriter
        if kafka.delivery == "exactly_once":
            outlet = TransactionalWriter(kafka, partition, self._group)
        else:
            outlet = AtLeastOnceWriter(kafka, partition, self._group, self._consumer)
        return PartitionPublisher(
            partition,
            outlet,
            on_open=self._fetch_from,
            on_published=self._published,
            on_failure=self._metrics.publish_failures.inc,
            starting_point=partial(self._ranges.starting_point, partition),
            redirects=self._redirects,
        )

    def _published(self, parcels: list[OutgoingReply]) -> None:
        self._counts.note(parcels)
        self._sessions.published(parcels)
        self._guard.suspects.settle(parcel.ending.ticket.record.source for parcel in parcels)

    def _fetch_from(self, partition: TopicPartition, progress: Progress | None) -> None:
        """Fetch from what is committed; where nothing is, the consumer starts with the oldest record by itself."""
        if progress is not None:
            self._sessions.reconcile(partition, progress)
            self._guard.suspects.settle_if(
                lambda source: (source.topic, source.partition) == partition and progress.answered(source.offset)
            )
            with contextlib.suppress(IllegalStateError):  # just revoked: the next assignment starts from the commit
                self._consumer.seek(partition, progress.position)
