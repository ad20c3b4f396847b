"""The page of metrics."""

from prometheus_client.metrics import MetricWrapperBase

from pelton.pipeline.metrics import Metrics
from pelton.reference.markdown import code, document, table

_INTRODUCTION = """\
Each worker serves these to Prometheus under `/metrics` on `worker.metrics_port`, beside `/healthz` and `/readyz`. A
counter's name ends with `_total`; a histogram comes as `_bucket`, `_sum` and `_count`. Beside them are Prometheus'
usual `process_*` figures of the worker's process: memory, CPU time, file descriptors, and `process_start_time_seconds`,
whose `changes()` are restarts."""


def page() -> str:
    """The page as Markdown."""
    declared = [metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    rows = (row for metric in declared for row in _rows(metric))
    return document(
        "Metrics", "pipeline/metrics.py", _INTRODUCTION, [table(("name", "type", "labels", "meaning"), rows)]
    )


def _rows(metric: MetricWrapperBase) -> list[list[str]]:
    labels = ", ".join(map(code, metric._labelnames))  # noqa: SLF001  # no public attribute has a metric's labels
    return [
        [
            code(f"{family.name}_total" if family.type == "counter" else family.name),
            family.type,
            labels,
            family.documentation,
        ]
        for family in metric.describe()
    ]
