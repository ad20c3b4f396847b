"""The router's metrics: how many requests went where, why, and how far the pools are behind."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.pipeline.wire.contract import Route
from pelton.producers.routing.router import Sent

NO_EXPERIMENT = ""
"""The labels of requests that named a model."""


class RouterMetrics:
    """Labels come from the settings alone, and all exist from the start."""

    def __init__(self, routing: RoutingSettings) -> None:
        self.registry = CollectorRegistry()
        self.sent = Counter(
            "pelton_routed_requests",
            "Requests and copies sent on, by what decided and to which pool.",
            ["experiment", "variant", "route", "model"],
            registry=self.registry,
        )
        self.backlog_seconds = Gauge(
            "pelton_pool_backlog_seconds",
            "How long a pool's backlog takes; infinite while nobody answers it.",
            ["model"],
            registry=self.registry,
        )
        self.overflow = Gauge(
            "pelton_overflow", "1 while another model answers for one that is behind.", ["experiment"],
            registry=self.registry,
        )  # fmt: skip
        for model in routing.pools:
            self.sent.labels(NO_EXPERIMENT, NO_EXPERIMENT, NO_EXPERIMENT, model)
        for name, experiment in routing.experiments.items():
            for variant, settings in experiment.variants.items():
                self.sent.labels(name, variant, Route.WEIGHT, settings.model)
            if experiment.shadow is not None:
                self.sent.labels(name, experiment.shadow.model, Route.SHADOW, experiment.shadow.model)
            if experiment.overflow is not None:
                self.sent.labels(name, experiment.overflow.variant, Route.OVERFLOW, experiment.overflow.model)
                self.overflow.labels(name)

    def note(self, sent: Sequence[Sent]) -> None:
        """What a committed transaction has sent on."""
        for each in sent:
            said = each.routed
            labels = ("", "", "") if said is None else (said.experiment, said.variant, str(said.route))
            self.sent.labels(*labels, each.model).inc()
