"""What the metrics show of committed replies."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from prometheus_client import Counter

from pelton.pipeline.metrics import OTHER_TENANTS, OTHER_VARIANTS, STAGES, Metrics
from pelton.pipeline.settings.routing.experiments import Experiment
from pelton.pipeline.wire.contract import Route
from pelton.pipeline.wire.routed import Routed
from pelton.workers.containment import harmless
from pelton.workers.delivery.backlog import BacklogMeter
from pelton.workers.requests import Failed, Generated, OutgoingReply, Result
from pelton.workers.sharing.reply_cache import ReplyCache

log = logging.getLogger(__name__)

NO_EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({})
_OUTCOMES = ("ok", "error")
_Key = tuple[str, str, Route]


class ReplyCounts:
    """Counts replies and times their way. Lives on the event loop."""

    def __init__(
        self,
        metrics: Metrics,
        reply_cache: ReplyCache,
        backlog: BacklogMeter,
        tenants: Collection[str] = (),
        experiments: Mapping[str, Experiment] = NO_EXPERIMENTS,
    ) -> None:
        """Of `tenants` tokens are counted by name, and replies by variant of `experiments`; each from the start."""
        self._metrics = metrics
        # Looked up once: it is asked for several with each reply.
        self._stages = {name: metrics.stage_seconds.labels(name) for name in STAGES}
        self._ok = metrics.finished.labels("ok")
        self._reply_cache = reply_cache
        self._backlog = backlog
        self._tenants = frozenset(tenants)
        self._variants = VariantCounts(metrics, experiments)
        for tenant in tenants:
            metrics.tenant_tokens.labels(tenant)

    def note(self, all_outgoing: Sequence[OutgoingReply]) -> None:
        """Note a commit, which may be of no reply."""
        self._metrics.commits.inc()
        for outgoing in all_outgoing:
            with harmless("count a reply"):
                self._note(outgoing.ending)

    def _note(self, ending: Result) -> None:
        metrics, delivery, now = self._metrics, ending.delivery, time.monotonic()
        self._stages["queue"].observe(delivery.queue_s)
        metrics.request_seconds.observe(delivery.queue_s + now - delivery.fetched_at)
        metrics.lane_finished.labels(delivery.envelope.lane).inc()
        if delivery.envelope.routed is not None:
            self._variants.note(delivery.envelope.routed, failed=isinstance(ending, Failed))
        if isinstance(ending, Failed):
            if not ending.error.for_load:  # else the more are refused, the faster the worker would seem
                self._backlog.answered(0)
            metrics.finished.labels(ending.error.code).inc()
            metrics.dead_letters.inc(ending.error.dead_letter)
            log.warning(
                "%s ended with %s: %s",
                *(delivery.record.source, ending.error.code, ending.error.message), extra=delivery.log_fields,
            )  # fmt: skip
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s is answered (%s)", delivery.record.source, ending.outcome, extra=delivery.log_fields)
        self._ok.inc()
        metrics.cache_requests.labels(ending.outcome).inc()
        self._reply_cache.count(ending.outcome)
        if ending.truncation is not None:
            metrics.truncated.labels(ending.truncation.policy).inc()
            metrics.truncated_tokens.inc(ending.truncation.tokens)
        if isinstance(ending, Generated):
            self._note_generated(ending, now)
        else:
            self._backlog.answered(0)

    def _note_generated(self, ending: Generated, now: float) -> None:
        metrics, stages, completion = self._metrics, self._stages, ending.completion
        metrics.prompt_tokens.inc(ending.prompt_tokens)
        metrics.cached_tokens.inc(completion.cached_tokens)
        metrics.generated_tokens.inc(completion.generated_tokens)
        tenant = ending.delivery.envelope.tenant
        metrics.tenant_tokens.labels(tenant if tenant in self._tenants else OTHER_TENANTS).inc(
            ending.prompt_tokens + completion.generated_tokens
        )
        self._backlog.answered(ending.prompt_tokens - completion.cached_tokens + completion.generated_tokens)
        stages["batch_wait"].observe(ending.batch_wait_s)
        stages["prefill"].observe(completion.prefill_s)
        stages["decode"].observe(completion.decode_s)
        stages["publish"].observe(now - ending.finished_at)
        metrics.first_token_seconds.observe(ending.delivery.queue_s + ending.batch_wait_s + completion.prefill_s)
        if (steps := len(completion.token_ids) - 1) > 0:
            metrics.token_seconds.observe(completion.decode_s / steps)


class VariantCounts:
    """Counts each reply under the names that its request's headers say, if the settings know them."""

    def __init__(self, metrics: Metrics, experiments: Mapping[str, Experiment]) -> None:
        counter = metrics.variant_finished
        self._counters = {key: _pair(counter, *key) for key in _keys(experiments)}
        self._others = {route: _pair(counter, OTHER_VARIANTS, OTHER_VARIANTS, route) for route in Route}

    def note(self, routed: Routed, *, failed: bool) -> None:
        known = self._counters.get((routed.experiment, routed.variant, routed.route))
        (known or self._others[routed.route])[failed].inc()


def _keys(experiments: Mapping[str, Experiment]) -> Iterator[_Key]:
    for name, experiment in experiments.items():
        for variant in experiment.variants:
            yield name, variant, Route.WEIGHT
        if experiment.overflow is not None:
            yield name, experiment.overflow.variant, Route.OVERFLOW
        if experiment.shadow is not None:
            yield name, experiment.shadow.model, Route.SHADOW


def _pair(counter: Counter, experiment: str, variant: str, route: Route) -> tuple[Counter, Counter]:
    ok, error = (counter.labels(experiment, variant, route, outcome) for outcome in _OUTCOMES)
    return ok, error
