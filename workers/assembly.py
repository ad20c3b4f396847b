"""The parts of a worker, each made from those above it."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer

from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.settings.map_file import body_codec
from pelton.workers.cancellation.cancel_topic import Cancels, CancelTopicReader
from pelton.workers.cancellation.canceller import Canceller
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.delivery.backlog import BacklogMeter
from pelton.workers.delivery.linger import LingerPolicy
from pelton.workers.delivery.log_watch import LogWatch
from pelton.workers.delivery.partition_publishers import PartitionPublishers
from pelton.workers.delivery.publisher import Publisher
from pelton.workers.delivery.redirects import Redirects
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.delivery.reply_records import WorkerIdentity
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
from pelton.workers.open_requests import OpenRequests
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.served_model import ServedModel
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sessions.fences import Fences
from pelton.workers.sharing.generation import Finished, Generation
from pelton.workers.sharing.lease_gate import LeaseGate
from pelton.workers.sharing.sharing import Sharing
from pelton.workers.streaming.stream_writer import StreamWriter

RESULTS_QUEUED = 1024
"""Results that may wait to be published before the inference thread is held up."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What a worker keeps open to Kafka besides its producers and the reader of cancels."""

    directory: TopicDirectory
    group: ConsumerGroup
    ranges: LogRanges
    consumer: AIOKafkaConsumer

    @classmethod
    def of(cls, settings: Settings, identity: str) -> "Broker":
        """The broker's list of members tells this worker from all others by its identity."""
        kafka = settings.kafka
        return cls(
            TopicDirectory(kafka), ConsumerGroup(kafka, identity), LogRanges(kafka), request_consumer(kafka, identity)
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker consists of; those that run, run for as long as it does."""

    broker: Broker
    queue: RequestQueue[Generation]
    results: LingerQueue[Finished]
    sharing: Sharing
    open_requests: OpenRequests
    leases: LeaseGate
    session_store: SessionStore
    sessions: SessionCoordinator
    canceller: Canceller
    cancel_topic: CancelTopicReader
    inference: Inference
    streams: StreamWriter
    assignment: Assignment
    publisher: Publisher
    admission: Admission
    poller: Poller
    log_watch: LogWatch
    figures: FiguresLog


def assemble(settings: Settings, served: ServedModel, metrics: Metrics, protection: CrashProtection) -> Parts:
    """Make all parts, on the loop that runs them. Nothing is connected or started. Raises `SettingsError` for a map."""
    broker = Broker.of(settings, protection.identity)
    queue: RequestQueue[Generation] = RequestQueue(
        max_tokens=settings.worker.max_waiting_tokens, max_requests=settings.worker.max_waiting_requests
    )
    linger = LingerPolicy(queue, served.engine, settings.worker.flush_interval_ms / 1000)
    results: LingerQueue[Finished] = LingerQueue(RESULTS_QUEUED, linger)
    sharing = Sharing.of(settings, metrics)
    open_requests = OpenRequests(results, sharing.flights.leave)
    leases = LeaseGate(sharing.flights, sharing.cache.leases, queue, open_requests, sharing.lease_wait_s)
    session_store = SessionStore(settings.cache, settings.session)
    fences = Fences(session_store, settings.kafka.group_id, broker.group.is_member)
    sessions = SessionCoordinator.of(settings, session_store, fences, open_requests)
    cancels = Cancels(settings.kafka.tenant_policy())
    canceller = Canceller(open_requests, cancels, sessions, queue)
    backlog = BacklogMeter()
    assignment = Assignment(
        PartitionPublishers(
            settings.kafka,
            group=broker.group,
            consumer=broker.consumer,
            ranges=broker.ranges,
            redirects=Redirects(settings.kafka, broker.directory),
            counts=ReplyCounts(metrics, sharing.recall, backlog),
            sessions=sessions,
            suspects=protection.suspects,
            on_failure=metrics.publish_failures.inc,
        ),
        results.flush,
        canceller.abandon,
    )
    streams = StreamWriter(settings.kafka, served.codec, broker.directory, served.model_name)
    bodies = body_codec(settings.worker.map)
    limits = RequestLimits.of(settings.worker, served.model_name, served.engine, bodies)
    keyring = CacheKeyBuilder.of(settings.cache, served.model_name, served.fingerprint, limits)
    admission = Admission(
        addresses=ReplyAddresses(broker.directory, settings.kafka.reply_policy()),
        codec=served.codec,
        limits=limits,
        keyring=keyring,
        recall=sharing.recall,
        cancels=cancels,
        open_requests=open_requests,
        flights=sharing.flights,
        sessions=sessions,
        continuing=SessionPrompts.of(settings.session, served.codec, limits, keyring),
        queue=queue,
    )
    return Parts(
        broker=broker,
        queue=queue,
        results=results,
        sharing=sharing,
        open_requests=open_requests,
        leases=leases,
        session_store=session_store,
        sessions=sessions,
        canceller=canceller,
        cancel_topic=CancelTopicReader(settings.kafka, cancels, canceller.cancel),
        inference=Inference(
            served.engine,
            queue,
            results,
            metrics,
            protection,
            left=sharing.flights.left,
            runnable=leases.runnable,
            share_prefixes=settings.engine.share_prefixes,
            tenant_weights=settings.worker.tenant_weights,
            listen=streams.listen,
        ),
        streams=streams,
        assignment=assignment,
        publisher=Publisher(
            results=results,
            packer=ReplyBuilder(
                served.codec, WorkerIdentity(served.model_name, protection.identity), settings.kafka.group_id, bodies
            ),
            assignment=assignment,
            open_requests=open_requests,
            flights=sharing.flights,
            recall=sharing.recall,
            sessions=sessions,
        ),
        admission=admission,
        poller=Poller(
            consumer=broker.consumer,
            assignment=assignment,
            policy=settings.kafka.reply_policy(),
            sessions=sessions,
            reception=admission,
            metrics=metrics,
        ),
        log_watch=LogWatch(broker.ranges, assignment, backlog, metrics),
        figures=FiguresLog(metrics, protection.steps, settings.worker.figures_interval_s, on_cpu=served.on_cpu),
    )
