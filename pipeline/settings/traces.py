"""Settings of traces."""

from pelton.pipeline.settings.section import Section


class TraceSettings(Section):
    """Spans of each request's way by OpenTelemetry; needs `pelton[otel]`. What is not here is set by the standard
    `OTEL_*` variables: endpoint, headers, sampler, resource.
    """

    enabled: bool = False
    """Of `worker`, `serve`, `ask` and `submit`."""
    endpoint: str | None = None
    """The collector's OTLP address over HTTP, such as `http://localhost:4318`; unset, `OTEL_EXPORTER_OTLP_ENDPOINT`."""
