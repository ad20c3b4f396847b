"""The page of metrics: those of workers, of the backlog's exporter and of the router."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from pelton.cache.replies.failures import Failure
from pelton.commands.backlog import BacklogMetrics
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.producers.routing.metrics import RouterMetrics
from pelton.reference.markdown import code, document, table
from pelton.workers.remote.verdict import Fate

_INTRODUCTION = """\
Each worker serves these to Prometheus under `/metrics` on `worker.metrics_port`, beside `/healthz` and `/readyz`. A
counter's name ends with `_total`; a histogram comes as `_bucket`, `_sum` and `_count`. Beside them are Prometheus'
usual `process_*` figures of the worker's process: memory, CPU time, file descriptors, and `process_start_time_seconds`,
whose `changes()` are restarts."""
_VALUES = """\
All of these exist at 0 from the start, so that a rate does not miss the first event. Labels that are not here have
names from the settings (`tenant`, `experiment`, `variant`, `endpoint`, `model`), or the number of a card (`gpu`)."""
_BACKLOG = (
    "`pelton backlog --serve PORT` serves these; while Kafka is away they are gone, as old ones would mislead a scaler."
)
_ROUTER = "`pelton ab route` serves these where `routing.metrics_port` is set."
_FROM_SETTINGS = {"tenant", "experiment", "variant", "endpoint", "le"}
_HEAD = ("name", "type", "labels", "meaning")


def page() -> str:
    """The page as Markdown."""
    parts = [
        table(_HEAD, _rows(Metrics())),
        "## What labels say",
        _VALUES,
        table(("metric", "label", "values"), _label_values(Metrics())),
        "## Of the backlog's exporter",
        _BACKLOG,
        table(_HEAD, _rows(BacklogMetrics())),
        "## Of the router",
        _ROUTER,
        table(_HEAD, _rows(RouterMetrics(RoutingSettings()))),
    ]
    return document("Metrics", "pipeline/metrics.py", _INTRODUCTION, parts)


def served_series() -> set[str]:
    """Names of all series that Pelton's processes serve, with the name that a histogram's go by."""
    return {
        name for metrics in (Metrics(), BacklogMetrics(), RouterMetrics(RoutingSettings())) for name in _names(metrics)
    }


def _declared(metrics: object) -> list[MetricWrapperBase]:
    return [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]


def _names(metrics: object) -> Iterator[str]:
    for metric in _declared(metrics):
        for family in metric.describe():
            ends = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}.get(family.type, ("",))
            yield from (family.name + end for end in ends)


def _rows(metrics: object) -> Iterator[list[str]]:
    for metric in _declared(metrics):
        labels = ", ".join(map(code, metric._labelnames))  # noqa: SLF001  # no public attribute has a metric's labels
        for family in metric.describe():
            yield [code(_shown(family)), family.type, labels, family.documentation]


def _shown(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _label_values(metrics: Metrics) -> Iterator[list[str]]:
    """Of labels whose values the code knows. What a label has from the start is in the registry."""
    preset: dict[tuple[str, str], list[str]] = {
        ("pelton_cache_failures_total", "kind"): list(Failure),
        ("pelton_endpoint_calls_total", "fate"): [fate.name.lower() for fate in Fate],
    }
    samples = [(_shown(family), sample) for family in metrics.registry.collect() for sample in family.samples]
    for metric, sample in samples:
        for label in sample.labels.keys() - _FROM_SETTINGS:
            values = preset.setdefault((metric, label), [])
            if sample.labels[label] not in values:
                values.append(sample.labels[label])
    for (metric, label), values in sorted(preset.items()):
        codes = "`ok`, and those of the page [Error codes](errors.md)"
        yield [code(metric), code(label), codes if label == "code" else ", ".join(map(code, values))]
