"""The spans of a request in a worker: one for its whole way, below it what it waited for and what was computed.

They are made when the reply is, whose headers name the last of them, and end when the reply is committed. A reply that
is never committed, as another worker answers, leaves no span behind.
"""

import time

from pelton.pipeline.tracing import names
from pelton.pipeline.tracing.spans import Attributes, Kind, ReplyTrace, Span, TraceHeaders, Traces
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import Envelope
from pelton.pipeline.wire.tracing import continue_trace
from pelton.workers.containment import harmless
from pelton.workers.requests import CacheHit, Delivery, Duplicate, Failed, Generated, Result


class ReplySpans:
    """Without `traces` replies continue their senders' traces all the same. Any thread."""

    def __init__(self, traces: Traces | None, group_id: str, model: str) -> None:
        self._traces = traces
        self._group_id = group_id
        self._model = model

    def open(self, ending: Result) -> ReplyTrace:
        """For one reply. Its spans end by `committed`."""
        if self._traces is not None:
            with harmless("trace a request"):
                return self._open(self._traces, ending)
        return ReplyTrace(_continued(ending.delivery.envelope))

    def committed(self, ending: Result, trace: ReplyTrace) -> None:
        """The reply is there for others to read."""
        if trace.process is None:
            return
        with harmless("trace a reply"):
            if trace.send is not None:
                trace.send.end()
            trace.process.end(
                attributes=_outcome(ending), error=ending.error.code if isinstance(ending, Failed) else None
            )

    def _open(self, traces: Traces, ending: Result) -> ReplyTrace:
        delivery = ending.delivery
        process = traces.start(
            f"process {delivery.record.source.topic}",
            Kind.CONSUMER,
            _received(delivery, self._group_id),
            parent=_given(delivery.envelope),
            links=_links(ending),
            at_s=delivery.fetched_at,
        )
        self._attempts(traces, ending, process)
        finished_at = ending.finished_at if isinstance(ending, Generated) else time.monotonic()
        topic = delivery.envelope.reply_topic
        send = traces.start(
            f"send {topic}", Kind.PRODUCER, _sent(topic), parent=process.headers, at_s=finished_at
        )  # fmt: skip
        return ReplyTrace(send.headers, process, send)

    def _attempts(self, traces: Traces, ending: Result, process: Span) -> None:
        """What ran in the engine: attempts that failed, and the one that gave the answer."""
        if not isinstance(ending, Generated | Failed):
            return
        parent, name = process.headers, f"{names.CHAT} {self._model}"
        for failed in ending.failed_attempts:
            span = traces.start(name, Kind.INTERNAL, self._asked(ending), parent=parent, at_s=failed.started)
            span.end(failed.ended, error=failed.error)
        if not isinstance(ending, Generated):
            return
        delivery, completion = ending.delivery, ending.completion
        started = delivery.fetched_at + ending.batch_wait_s
        waited = traces.start("wait", Kind.INTERNAL, parent=parent, at_s=delivery.fetched_at)
        waited.end(started)
        span = traces.start(name, Kind.INTERNAL, self._asked(ending), parent=parent, at_s=started)
        span.event(names.FIRST_TOKEN, started + completion.prefill_s)
        span.end(
            ending.finished_at,
            attributes={
                names.AI_RESPONSE_MODEL: self._model,
                names.AI_INPUT_TOKENS: ending.prompt_tokens,
                names.AI_CACHED_TOKENS: completion.cached_tokens,
                names.AI_OUTPUT_TOKENS: completion.generated_tokens,
                names.AI_FINISH_REASONS: [str(each.finish_reason) for each in completion.all],
                names.ATTEMPT: ending.attempt,
            },
        )

    def _asked(self, ending: Generated | Failed) -> Attributes:
        general: dict[str, str | int | float | None] = {
            names.AI_OPERATION: names.CHAT,
            names.AI_PROVIDER: names.PELTON,
            names.AI_REQUEST_MODEL: self._model,
            names.AI_CONVERSATION: ending.delivery.envelope.session or None,
        }
        if isinstance(ending, Generated):
            request = ending.job.request
            general |= {
                names.AI_MAX_TOKENS: ending.job.max_new_tokens,
                names.AI_TEMPERATURE: request.temperature,
                names.AI_TOP_P: request.top_p,
                names.AI_SEED: request.seed,
            }
        return general


def _given(envelope: Envelope) -> TraceHeaders:
    """The sender's context; one who gives none has the worker begin a trace."""
    named = ((contract.TRACEPARENT, envelope.traceparent), (contract.TRACESTATE, envelope.tracestate))
    return [(name, value) for name, value in named if value is not None]


def _continued(envelope: Envelope) -> TraceHeaders:
    trace = continue_trace(envelope.traceparent) if envelope.traceparent else None
    if trace is None:
        return []
    return [(contract.TRACEPARENT, trace), *_given(envelope)[1:]]


def _links(ending: Result) -> list[TraceHeaders]:
    """To the trace of the request that the answer was generated for, where this one joined it."""
    shared = ending.shared_from if isinstance(ending, CacheHit | Duplicate) else ()
    return [shared] if shared else []


def _received(delivery: Delivery, group_id: str) -> Attributes:
    source, envelope = delivery.record.source, delivery.envelope
    return {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.DESTINATION: source.topic,
        names.PARTITION: str(source.partition),
        names.OFFSET: source.offset,
        names.GROUP: group_id,
        names.CONVERSATION: envelope.correlation_id.decode("utf-8", "replace"),
        names.BODY_BYTES: len(delivery.record.value or b""),
        names.TENANT: envelope.tenant or None,
        names.LANE: str(envelope.lane),
        names.KAFKA_WAIT_MS: round(delivery.queue_s * 1000, 1),
    }


def _sent(topic: str) -> Attributes:
    return {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.OPERATION_NAME: "send",
        names.OPERATION_TYPE: "send",
        names.DESTINATION: topic,
    }


def _outcome(ending: Result) -> Attributes:
    if isinstance(ending, Failed):
        return {names.ATTEMPT: ending.attempt}
    return {names.CACHE: str(ending.outcome)}
