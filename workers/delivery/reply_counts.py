"""What the metrics show of committed replies."""

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from prometheus_client import Counter

from pelton.pipeline.metrics import OTHER_TENANTS, OTHER_VARIANTS, STAGES, Metrics
from pelton.pipeline.settings.routing.experiments import Experiment
from pelton.pipeline.wire.contract import CacheOutcome, Lane, Route
from pelton.pipeline.wire.routed import Routed
from pelton.workers.containment import harmless
from pelton.workers.fairness.backlog import BacklogMeter
from pelton.workers.requests import Answered, Failed, Generated, OutgoingReply, Result
from pelton.workers.sharing.reply_cache import ReplyCache

log = logging.getLogger(__name__)

NO_EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({})
_OUTCOMES = ("ok", "error")
_Key = tuple[str, str, Route]


class ReplyCounts:
    """Counts replies and times their way, those of one commit together. Lives on the event loop."""

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
        # Children are looked up once: to find one costs more than to count.
        self._stages = {name: metrics.stage_seconds.labels(name) for name in STAGES}
        self._ok = metrics.finished.labels("ok")
        self._lanes = [(lane, metrics.lane_finished.labels(lane)) for lane in Lane]
        self._outcomes = [(outcome, metrics.cache_requests.labels(outcome)) for outcome in CacheOutcome]
        self._tenants = {tenant: metrics.tenant_tokens.labels(tenant) for tenant in tenants}
        self._other_tenants = metrics.tenant_tokens.labels(OTHER_TENANTS)
        self._reply_cache = reply_cache
        self._backlog = backlog
        self._variants = VariantCounts(metrics, experiments)

    def note(self, all_outgoing: Sequence[OutgoingReply]) -> None:
        """Note a commit, which may be of no reply."""
        self._metrics.commits.inc()
        endings = [outgoing.ending for outgoing in all_outgoing]
        now = time.monotonic()
        with harmless("count replies"):
            self._note_all(endings, now)
        with harmless("count answers"):
            self._note_answers([ending for ending in endings if not isinstance(ending, Failed)])
        with harmless("count generated answers"):
            self._note_generated([ending for ending in endings if isinstance(ending, Generated)], now)
        with harmless("count errors"):
            self._note_failed([ending for ending in endings if isinstance(ending, Failed)])

    def _note_all(self, endings: Sequence[Result], now: float) -> None:
        deliveries = [ending.delivery for ending in endings]
        self._stages["queue"].observe_all([each.queue_s for each in deliveries])
        self._metrics.request_seconds.observe_all([each.queue_s + now - each.fetched_at for each in deliveries])
        lanes = [each.envelope.lane for each in deliveries]
        for lane, counter in self._lanes:
            counter.inc(lanes.count(lane))
        for ending, delivery in zip(endings, deliveries, strict=True):
            if delivery.envelope.routed is not None:
                self._variants.note(delivery.envelope.routed, failed=isinstance(ending, Failed))

    def _note_answers(self, endings: Sequence[Answered]) -> None:
        if log.isEnabledFor(logging.DEBUG):
            for ending in endings:
                place, fields = ending.delivery.record.source, ending.delivery.log_fields
                log.debug("%s is answered (%s)", place, ending.outcome, extra=fields)
        self._ok.inc(len(endings))
        outcomes = [ending.outcome for ending in endings]
        for outcome, counter in self._outcomes:
            if count := outcomes.count(outcome):
                counter.inc(count)
                self._reply_cache.count(outcome, count)
        for cut in (ending.truncation for ending in endings):
            if cut is not None:
                self._metrics.truncated.labels(cut.policy).inc()
                self._metrics.truncated_tokens.inc(cut.tokens)
        self._backlog.answered(0, sum(not isinstance(ending, Generated) for ending in endings))

    def _note_failed(self, endings: Sequence[Failed]) -> None:
        for ending in endings:
            delivery, error = ending.delivery, ending.error
            if not error.for_load:  # else the more are refused, the faster the worker would seem
                self._backlog.answered(0)
            self._metrics.finished.labels(error.code).inc()
            self._metrics.dead_letters.inc(error.dead_letter)
            log.warning(
                "%s ended with %s: %s",
                *(delivery.record.source, error.code, error.message), extra=delivery.log_fields,
            )  # fmt: skip

    def _note_generated(self, endings: Sequence[Generated], now: float) -> None:
        metrics, stages = self._metrics, self._stages
        completions = [ending.completion for ending in endings]
        prompts = [ending.prompt_tokens for ending in endings]
        generated = [completion.generated_tokens for completion in completions]
        cached = sum(completion.cached_tokens for completion in completions)
        metrics.prompt_tokens.inc(sum(prompts))
        metrics.cached_tokens.inc(cached)
        metrics.generated_tokens.inc(sum(generated))
        self._backlog.answered(sum(prompts) - cached + sum(generated), len(endings))
        taken: defaultdict[str, int] = defaultdict(int)
        for ending, prompt, answer in zip(endings, prompts, generated, strict=True):
            taken[ending.job.delivery.envelope.tenant] += prompt + answer
        for tenant, tokens in taken.items():
            self._tenants.get(tenant, self._other_tenants).inc(tokens)
        stages["batch_wait"].observe_all([ending.batch_wait_s for ending in endings])
        stages["prefill"].observe_all([completion.prefill_s for completion in completions])
        stages["decode"].observe_all([completion.decode_s for completion in completions])
        stages["publish"].observe_all([now - ending.finished_at for ending in endings])
        metrics.first_token_seconds.observe_all([_first_token_s(ending) for ending in endings])
        metrics.token_seconds.observe_all(
            [each.decode_s / steps for each in completions if (steps := len(each.token_ids) - 1) > 0]
        )


def _first_token_s(ending: Generated) -> float:
    return ending.job.delivery.queue_s + ending.batch_wait_s + ending.completion.prefill_s


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
