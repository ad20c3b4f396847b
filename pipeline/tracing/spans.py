"""What is said of a trace, whatever keeps it. Nothing here needs OpenTelemetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

TraceHeaders = Sequence[tuple[str, bytes]]
"""The W3C trace context as a record carries it: `traceparent`, and perhaps `tracestate`."""
Attributes = Mapping[str, str | int | float | Sequence[str] | None]
"""None leaves one out."""
NO_ATTRIBUTES: Attributes = MappingProxyType({})


class Kind(StrEnum):
    """A span's kind, by OpenTelemetry's names."""

    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    INTERNAL = "INTERNAL"


class Span(Protocol):
    """One that has begun. What is not ended is never exported. Any thread; raises nothing."""

    @property
    def headers(self) -> TraceHeaders:
        """For a record that continues the trace from here."""

    def event(self, name: str, at_s: float) -> None:
        """Note a moment (`time.monotonic`)."""

    def end(
        self, at_s: float | None = None, *, attributes: Attributes = NO_ATTRIBUTES, error: str | None = None
    ) -> None:
        """End it, now or at a time (`time.monotonic`); `error` is what kind of error it ends with."""


class Traces(Protocol):
    """Begins spans. Any thread; raises nothing."""

    def start(  # noqa: PLR0913  # what a span has
        self,
        name: str,
        kind: Kind,
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        parent: TraceHeaders | None = None,
        links: Sequence[TraceHeaders] = (),
        at_s: float | None = None,
    ) -> Span:
        """Below `parent`; without one below what the program is just doing. Empty headers begin a new trace.

        `links` name spans of other traces that this one is about. It begins now or `at_s` (`time.monotonic`).
        """


@dataclass(frozen=True, slots=True)
class ReplyTrace:
    """The trace context that a reply carries, and the spans that end with its commit; none where none are kept."""

    headers: TraceHeaders = ()
    process: Span | None = None
    send: Span | None = None


NO_TRACE = ReplyTrace()
