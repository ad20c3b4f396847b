"""Traces by OpenTelemetry's API. Imported only where traces are kept."""

import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pelton.pipeline.tracing.names import ERROR_TYPE
from pelton.pipeline.tracing.spans import NO_ATTRIBUTES, Attributes, Kind, TraceHeaders

_W3C = TraceContextTextMapPropagator()


STEP_NS = 1_000_000
"""By how much the clocks may drift apart before it is noted: below it the times of all spans keep their order."""


class _UnixClock:
    """`time.monotonic` as Unix time. Any thread."""

    def __init__(self) -> None:
        self._apart_ns = 0

    def ns(self, at_s: float | None) -> int:
        """That moment, or now."""
        now_ns = time.monotonic_ns()
        apart_ns = time.time_ns() - now_ns
        if abs(apart_ns - self._apart_ns) > STEP_NS:
            self._apart_ns = apart_ns
        return self._apart_ns + (now_ns if at_s is None else int(at_s * 1e9))


class OpenTelemetrySpan:
    """A span, whose times are given on `time.monotonic`'s clock."""

    def __init__(self, span: trace.Span, clock: _UnixClock) -> None:
        self._span = span
        self._clock = clock

    @property
    def headers(self) -> TraceHeaders:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return [(name, value.encode()) for name, value in carrier.items()]

    def event(self, name: str, at_s: float) -> None:
        self._span.add_event(name, timestamp=self._clock.ns(at_s))

    def end(
        self, at_s: float | None = None, *, attributes: Attributes = NO_ATTRIBUTES, error: str | None = None
    ) -> None:
        self._span.set_attributes(_known(attributes))
        if error is not None:
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end(self._clock.ns(at_s))


class OpenTelemetryTraces:
    """Spans of a tracer: of the program's own provider, unless another is given."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("pelton", tracer_provider=provider)
        self._clock = _UnixClock()

    def start(  # noqa: PLR0913  # as the protocol has it
        self,
        name: str,
        kind: Kind,
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        parent: TraceHeaders | None = None,
        links: Sequence[TraceHeaders] = (),
        at_s: float | None = None,
    ) -> OpenTelemetrySpan:
        linked = (trace.get_current_span(_context(each)).get_span_context() for each in links)
        return OpenTelemetrySpan(
            self._tracer.start_span(
                name,
                None if parent is None else _context(parent),
                trace.SpanKind[kind],
                _known(attributes),
                [trace.Link(each) for each in linked if each.is_valid],
                self._clock.ns(at_s),
            ),
            self._clock,
        )


def _context(headers: TraceHeaders) -> Context:
    """A malformed one is none, as the standard says."""
    return _W3C.extract({name: value.decode("ascii", "replace") for name, value in headers}, Context())


def _known(attributes: Attributes) -> dict[str, str | int | float | Sequence[str]]:
    return {name: value for name, value in attributes.items() if value is not None}
