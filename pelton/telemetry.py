"""Traces as the settings ask for them. OpenTelemetry is imported only where they do."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pelton.pipeline.settings.loading import SettingsError
from pelton.pipeline.settings.log import TraceSettings
from pelton.pipeline.tracing.spans import Traces

FLUSH_S = 3.0
"""How long the end of a process may wait for a collector that does not answer."""


@contextmanager
def traces(settings: TraceSettings, service: str) -> Iterator[Traces | None]:
    """None where they are off. At the end what is not exported yet is, for some seconds at most.

    `service` is the process' name in traces unless `OTEL_SERVICE_NAME` gives one. Raises `SettingsError` where
    `pelton[otel]` is not installed, or a variable is wrong.
    """
    if not settings.enabled:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (off: unused)
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        from pelton.pipeline.tracing.open_telemetry import OpenTelemetryTraces  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"traces.enabled: {error.name} cannot be imported; install the extra pelton[otel]."
        ) from error
    endpoint = None if settings.endpoint is None else f"{settings.endpoint.rstrip('/')}/v1/traces"
    try:
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint))
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    except ValueError as error:
        raise SettingsError(f"traces: a variable OTEL_* cannot be used ({error}).") from error
    provider.add_span_processor(processor)
    try:
        yield OpenTelemetryTraces(provider)
    finally:
        # It exports what is left. Neither its own limit nor that of `force_flush` holds while an export is under way.
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(FLUSH_S)
