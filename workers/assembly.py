"""The parts of a worker, each made from those above it."""

from dataclasses import dataclass

from pelton.cache.quotas.store import QuotaStore
from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.workers.cancellation.cancel_topic import CancelTopicReader
from pelton.workers.cancellation.canceller import Canceller
from pelton.workers.core import Broker, Core
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.delivery.log_watch import LogWatch
from pelton.workers.delivery.partition_publishers import PartitionPublishers
from pelton.workers.delivery.publisher import Publisher
from pelton.workers.delivery.redirects import Redirects
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.delivery.reply_records import WorkerIdentity
from pelton.workers.fairness.backlog import BacklogMeter
from pelton.workers.fairness.degrading import Degrading
from pelton.workers.fairness.early_refusal import EarlyRefusal
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.figures import FiguresLog
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.inference.thread import Inference
from pelton.workers.intake.admission import Admission
from pelton.workers.intake.poller import Poller
from pelton.workers.intake.reply_addresses import ReplyAddresses
from pelton.workers.open_requests import OpenRequests
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.schemas.source import schemas_of
from pelton.workers.served_model import ServedModel
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.generation import Finished, Generation
from pelton.workers.sharing.lease_gate import LeaseGate
from pelton.workers.sharing.sharing import Sharing
from pelton.workers.streaming.stream_writer import StreamWriter


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker consists of; those that run, run for as long as it does."""

    broker: Broker
    queue: RequestQueue[Generation]
    results: LingerQueue[Finished]
    sharing: Sharing
    open_requests: OpenRequests
    leases: LeaseGate
    quota_store: QuotaStore
    quotas: QuotaGate
    speed: SpeedMeter
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


def assemble(
    settings: Settings,
    served: ServedModel,
    metrics: Metrics,
    protection: CrashProtection,
    traces: Traces | None = None,
) -> Parts:
    """Make all parts, on the loop that runs them. Nothing is connected or started. Raises `SettingsError` for a map."""
    metrics.worker_info.labels(protection.identity, served.model_name, settings.engine.kind).set(1)
    core = Core.of(settings, served, metrics, protection, traces)
    broker, sharing, queue, open_requests = core.broker, core.sharing, core.queue, core.open_requests
    leases = LeaseGate(
        sharing.single_flight, sharing.cache.leases, queue, open_requests, sharing.lease_wait_s, enter=core.quotas.enter
    )
    streams = StreamWriter(settings.kafka, served.codec, broker.directory, served.model_name)
    backlog = BacklogMeter()
    assignment = _assignment(core, backlog)
    addresses = ReplyAddresses(broker.directory, settings.kafka.reply_policy())
    admission = _admission(core, backlog, addresses)
    return Parts(
        broker=broker,
        queue=queue,
        results=core.results,
        sharing=sharing,
        open_requests=open_requests,
        leases=leases,
        quota_store=core.quota_store,
        quotas=core.quotas,
        speed=core.speed,
        session_store=core.session_store,
        sessions=core.sessions,
        canceller=core.canceller,
        cancel_topic=CancelTopicReader(settings.kafka, core.cancels, core.canceller.cancel),
        inference=_inference(core, leases, streams),
        streams=streams,
        assignment=assignment,
        publisher=_publisher(core, assignment),
        admission=admission,
        poller=_poller(core, assignment, admission, addresses),
        log_watch=LogWatch(broker.ranges, assignment, backlog, metrics),
        figures=FiguresLog(metrics, protection.steps, settings.worker.figures_interval_s, on_cpu=served.on_cpu),
    )


def _poller(core: Core, assignment: Assignment, admission: Admission, addresses: ReplyAddresses) -> Poller:
    return Poller(
        consumer=core.broker.consumer,
        assignment=assignment,
        policy=core.settings.kafka.reply_policy(),
        sessions=core.sessions,
        quotas=core.quotas,
        admission=admission,
        addresses=addresses,
        metrics=core.metrics,
    )


def _assignment(core: Core, backlog: BacklogMeter) -> Assignment:
    publishers = PartitionPublishers(
        core.settings.kafka,
        group=core.broker.group,
        consumer=core.broker.consumer,
        ranges=core.broker.ranges,
        redirects=Redirects(core.settings.kafka, core.broker.directory),
        counts=ReplyCounts(
            core.metrics,
            core.sharing.reply_cache,
            backlog,
            core.settings.worker.tenant_weights,
            core.settings.routing.experiments,
        ),
        spans=core.spans,
        traces=core.traces,
        sessions=core.sessions,
        suspects=core.protection.suspects,
        on_failure=core.metrics.publish_failures.inc,
        on_take_over=core.metrics.take_overs.inc,
    )
    return Assignment(publishers, core.results.flush, core.canceller.abandon, publishers.resume)


def _admission(core: Core, backlog: BacklogMeter, addresses: ReplyAddresses) -> Admission:
    settings, served = core.settings, core.served
    limits = RequestLimits.of(settings.worker, served.model_name, served.engine, core.bodies)
    key_builder = CacheKeyBuilder.of(
        settings.cache, served.model_name, served.fingerprint, limits, served.codec.identity
    )
    return Admission(
        addresses=addresses,
        schemas=schemas_of(settings.schemas, core.bodies.schemas),
        codec=served.codec,
        limits=limits,
        key_builder=key_builder,
        reply_cache=core.sharing.reply_cache,
        cancels=core.cancels,
        open_requests=core.open_requests,
        single_flight=core.sharing.single_flight,
        sessions=core.sessions,
        session_prompts=SessionPrompts.of(settings.session, served.codec, limits, key_builder),
        queue=core.queue,
        quotas=core.quotas,
        early_refusal=EarlyRefusal(
            settings.overload, core.queue, core.speed, settings.worker.tenant_weights, core.metrics
        ),
        degrading=Degrading(settings.overload, backlog, core.sharing.single_flight, key_builder, core.metrics),
    )


def _inference(core: Core, leases: LeaseGate, streams: StreamWriter) -> Inference:
    return Inference(
        core.served.engine,
        core.queue,
        core.results,
        core.metrics,
        core.protection,
        left=core.sharing.single_flight.left,
        runnable=leases.runnable,
        share_prefixes=core.settings.engine.share_prefixes,
        tenant_weights=core.settings.worker.tenant_weights,
        speed=core.speed,
        listen=streams.listen,
    )


def _publisher(core: Core, assignment: Assignment) -> Publisher:
    identity = WorkerIdentity(core.served.model_name, core.protection.identity)
    return Publisher(
        results=core.results,
        reply_builder=ReplyBuilder(core.served.codec, identity, core.settings.kafka.group_id, core.spans, core.bodies),
        assignment=assignment,
        open_requests=core.open_requests,
        single_flight=core.sharing.single_flight,
        reply_cache=core.sharing.reply_cache,
        sessions=core.sessions,
    )
