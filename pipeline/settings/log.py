"""Settings of logs and traces."""

from typing import Literal

from pelton.pipeline.settings.section import NotNegative, Section

LogFormat = Literal["human", "json"]
LogLevel = Literal["debug", "info", "warning"]


class LogSettings(Section):
    """What `pelton worker`, `serve` and `reports serve` write to stderr."""

    format: LogFormat = "human"
    """`json`: one object a line, with the fields `time`, `level`, `logger`, `message`, and where they apply `worker`,
    `request`, `correlation_id` and `error`."""
    level: LogLevel = "info"
    """The least that is logged of Pelton's own; of libraries what is one step above. `debug` has a line for each
    answer."""
    max_repeats_per_minute: NotNegative = 60
    """Lines from one place in the code; what is beyond is counted in the next one. 0: no limit."""


class TraceSettings(Section):
    """Spans of each request's way by OpenTelemetry; needs `pelton[otel]`. What is not here is set by the standard
    `OTEL_*` variables: endpoint, headers, sampler, resource.
    """

    enabled: bool = False
    """Of `worker`, `serve`, `ask` and `submit`."""
    endpoint: str | None = None
    """The collector's OTLP address over HTTP, such as `http://localhost:4318`; unset, `OTEL_EXPORTER_OTLP_ENDPOINT`."""
