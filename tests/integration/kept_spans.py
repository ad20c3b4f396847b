"""Spans as an exporter would get them."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pelton.pipeline.tracing.open_telemetry import OpenTelemetryTraces


class Kept:
    """Every span that ends, as an exporter would get it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = OpenTelemetryTraces(self.provider)

    @property
    def spans(self) -> Sequence[Any]:
        return self._exporter.get_finished_spans()

    def of(self, name: bytes) -> dict[str, list[Any]]:
        """All spans of the trace of a request, by the first word of their names."""
        [send] = [
            span
            for span in self.spans
            if span.attributes.get("messaging.operation.name") == "send"
            and span.attributes.get("messaging.message.conversation_id") == name.decode()
        ]
        found: dict[str, list[Any]] = {}
        for span in self.spans:
            if span.context.trace_id == send.context.trace_id:
                found.setdefault(span.name.split()[0], []).append(span)
        return found
