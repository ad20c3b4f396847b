"""The spans of a sender: one when a request is sent, one when its reply has come."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pelton.pipeline.tracing import names
from pelton.pipeline.tracing.spans import NO_ATTRIBUTES, Attributes, Kind, Span, Traces
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import Headers as RecordHeaders
from pelton.pipeline.wire.records import OutgoingRecord
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
        if self._traces is None:
            return list(headers), None
        span = self._begin(self._traces, headers, value, NO_ATTRIBUTES)
        return [*((name, value) for name, value in headers if name not in _CONTEXT), *span.headers], span

    @contextmanager
    def sent_together(
        self, records: Sequence[OutgoingRecord], more: Sequence[Attributes] = ()
    ) -> Iterator[list[OutgoingRecord]]:
        """The records of requests to send in place of these, in one transaction: their spans end when it has, or with
        its error. `more` has what else is to be said of each. A trace begins with each that continues none.
        """
        if self._traces is None:
            yield list(records)
            return
        attributes = more or [NO_ATTRIBUTES] * len(records)
        spans = [
            self._begin(self._traces, record.headers, record.value or b"", each, or_new=True)
            for record, each in zip(records, attributes, strict=True)
        ]
        try:
            yield [_within(span, record) for span, record in zip(spans, records, strict=True)]
        except BaseException as error:
            for span in spans:
                span.end(error=type(error).__name__)
            raise
        for span in spans:
            span.end()

    def _begin(
        self, traces: Traces, headers: RecordHeaders, value: bytes, more: Attributes, *, or_new: bool = False
    ) -> Span:
        given = [(name, value) for name, value in headers if name in _CONTEXT and value is not None]
        conversation = (dict(headers).get(contract.CORRELATION_ID) or b"").decode("utf-8", "replace")
        attributes = {**_about("send", self._topic, conversation), names.BODY_BYTES: len(value), **more}
        parent = given if given or or_new else None
        return traces.start(f"send {self._topic}", Kind.PRODUCER, attributes, parent=parent)

    def received(self, reply: Reply, topic: str) -> None:
        """Note a reply: below the span that sent it."""
        if self._traces is None:
            return
        given = [(name, reply.headers[name]) for name in _CONTEXT if name in reply.headers]
        conversation = reply.correlation_id.decode("utf-8", "replace")
        attributes = {**_about("receive", topic, conversation), names.BODY_BYTES: len(reply.value)}
        self._traces.start(f"receive {topic}", Kind.CONSUMER, attributes, parent=given).end()


def _within(span: Span, record: OutgoingRecord) -> OutgoingRecord:
    others = [(name, value) for name, value in record.headers if name not in _CONTEXT]
    return replace(record, headers=[*others, *span.headers])


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
