"""The spans of a sender: one when a request is sent, one when its reply has come."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pelton.pipeline.tracing import names
from pelton.pipeline.tracing.spans import Attributes, Kind, Span, Traces
from pelton.pipeline.wire import contract
from pelton.producers.replies import Reply

Headers = list[tuple[str, bytes]]
_CONTEXT = (contract.TRACEPARENT, contract.TRACESTATE)


class SenderSpans:
    """Of requests to one topic. Without `traces` headers stay as they are."""

    def __init__(self, traces: Traces | None, topic: str) -> None:
        self._traces = traces
        self._topic = topic

    def sending(self, headers: Sequence[tuple[str, bytes]], value: bytes) -> tuple[Headers, Span | None]:
        """Begin; returns the headers to send in place of these. The request's trace is what its headers say, if they
        do, else what the program is just doing.
        """
        given = [(name, value) for name, value in headers if name in _CONTEXT]
        if self._traces is None:
            return list(headers), None
        conversation = dict(headers).get(contract.CORRELATION_ID, b"").decode("utf-8", "replace")
        attributes = {**_about("send", self._topic, conversation), names.BODY_BYTES: len(value)}
        span = self._traces.start(f"send {self._topic}", Kind.PRODUCER, attributes, parent=given or None)
        return [*((name, value) for name, value in headers if name not in _CONTEXT), *span.headers], span

    def received(self, reply: Reply, topic: str) -> None:
        """Note a reply: below the span that sent it."""
        if self._traces is None:
            return
        given = [(name, reply.headers[name]) for name in _CONTEXT if name in reply.headers]
        conversation = reply.correlation_id.decode("utf-8", "replace")
        attributes = {**_about("receive", topic, conversation), names.BODY_BYTES: len(reply.value)}
        self._traces.start(f"receive {topic}", Kind.CONSUMER, attributes, parent=given).end()


def ends_with(span: Span, storing: "asyncio.Future[Any]") -> None:
    """End the span of a request when Kafka has stored it, or has not."""

    def end(done: "asyncio.Future[Any]") -> None:
        if done.cancelled():
            span.end(error="cancelled")
            return
        if error := done.exception():
            span.end(error=type(error).__name__)
        else:
            stored = done.result()
            span.end(attributes={names.PARTITION: str(stored.partition), names.OFFSET: stored.offset})

    storing.add_done_callback(end)


def _about(operation: str, topic: str, conversation: str) -> Attributes:
    return {
        names.MESSAGING_SYSTEM: names.KAFKA,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
        names.DESTINATION: topic,
        names.CONVERSATION: conversation or None,
    }
