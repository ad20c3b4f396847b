"""What nearly all parts of a worker hold on to."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer

from pelton.cache.quotas.store import QuotaStore
from pelton.cache.sessions.store import SessionStore
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.map_file import body_codec
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.pipeline.wire.bodies import BodyCodec
from pelton.workers.cancellation.cancel_topic import Cancels
from pelton.workers.cancellation.canceller import Canceller
from pelton.workers.delivery.linger import LingerPolicy
from pelton.workers.delivery.reply_spans import ReplySpans
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.kafka.consumers import request_consumer
from pelton.workers.kafka.group import ConsumerGroup
from pelton.workers.kafka.log_ranges import LogRanges
from pelton.workers.kafka.topics import TopicDirectory
from pelton.workers.open_requests import OpenRequests
from pelton.workers.served_model import ServedModel
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sessions.fences import Fences
from pelton.workers.sharing.generation import Finished, Generation
from pelton.workers.sharing.sharing import Sharing

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
        """The identity names this worker in the broker's list of members."""
        kafka = settings.kafka
        return cls(
            TopicDirectory(kafka), ConsumerGroup(kafka, identity), LogRanges(kafka), request_consumer(kafka, identity)
        )


@dataclass(frozen=True, slots=True)
class Core:
    """What nearly all parts hold on to: the broker, the queues, who is owed a reply, and whose turn it is."""

    settings: Settings
    served: ServedModel
    metrics: Metrics
    protection: CrashProtection
    broker: Broker
    queue: RequestQueue[Generation]
    results: LingerQueue[Finished]
    sharing: Sharing
    open_requests: OpenRequests
    session_store: SessionStore
    quota_store: QuotaStore
    quotas: QuotaGate
    speed: SpeedMeter
    sessions: SessionCoordinator
    cancels: Cancels
    canceller: Canceller
    traces: Traces | None
    spans: ReplySpans
    bodies: BodyCodec

    @classmethod
    def of(
        cls,
        settings: Settings,
        served: ServedModel,
        metrics: Metrics,
        protection: CrashProtection,
        traces: Traces | None,
    ) -> "Core":
        broker, worker = Broker.of(settings, protection.identity), settings.worker
        queue = RequestQueue[Generation](max_tokens=worker.max_waiting_tokens, max_requests=worker.max_waiting_requests)
        linger = LingerPolicy(queue, served.engine, worker.flush_interval_ms / 1000)
        results: LingerQueue[Finished] = LingerQueue(RESULTS_QUEUED, linger)
        sharing = Sharing.of(settings, metrics)
        open_requests = OpenRequests(results, sharing.single_flight.leave)
        quota_store = QuotaStore(settings.cache, settings.quota, protection.identity, broker.group.count_members)
        quotas = QuotaGate(
            settings=settings.quota,
            store=quota_store,
            queue=queue,
            single_flight=sharing.single_flight,
            open_requests=open_requests,
            metrics=metrics,
        )
        session_store = SessionStore(settings.cache, settings.session)
        fences = Fences(session_store, settings.kafka.group_id, broker.group.is_member)
        sessions = SessionCoordinator.of(settings, session_store, fences, open_requests)
        cancels = Cancels(settings.kafka.tenant_policy())
        return cls(
            settings=settings,
            served=served,
            metrics=metrics,
            protection=protection,
            broker=broker,
            queue=queue,
            results=results,
            sharing=sharing,
            open_requests=open_requests,
            session_store=session_store,
            quota_store=quota_store,
            quotas=quotas,
            speed=SpeedMeter(),
            sessions=sessions,
            cancels=cancels,
            canceller=Canceller(open_requests, cancels, sessions, queue),
            traces=traces,
            spans=ReplySpans(traces, settings.kafka.group_id, served.model_name),
            bodies=body_codec(worker.map, settings.schemas),
        )
