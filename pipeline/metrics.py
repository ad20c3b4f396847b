"""Every metric's name, kind and meaning, declared once.

Whatever has a label exists at 0 for every value of it from the start: a rate over a series that appears with its first
event misses that event.
"""

import math
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from pelton.pipeline.batch_histogram import BatchHistogram
from pelton.pipeline.error_codes import ERROR_CODES
from pelton.pipeline.wire.contract import CacheOutcome, Lane, TruncationPolicy


class QuotaOutcome(StrEnum):
    """What became of a request whose tenant has a quota."""

    GRANTED = "granted"
    WAITED = "waited"
    """It was over the quota when it came; counted once, and once more when it is granted."""
    REFUSED = "refused"


class OverloadAction(StrEnum):
    """What was done to a request because of the load."""

    REFUSED_LATE = "refused_late"
    """Refused at once, as its deadline would pass first."""
    SHORTENED = "shortened"
    """Its answer may have fewer tokens than it asked for."""
    REFUSED = "refused"
    """Refused, to be sent again later."""


STAGES = ("queue", "batch_wait", "prefill", "decode", "publish")
"""A request's way: in Kafka, from its fetch to the engine, to its first token, to its last, to its committed reply."""

OTHER_TENANTS = "other"
"""The label of all tenants that the settings do not name: senders cannot make new series."""
OTHER_VARIANTS = "other"
"""Likewise, of experiments and variants."""

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_TOKEN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_REQUEST_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """One worker's metrics, in a registry of their own so that two workers can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.worker_info = self._gauge(
            "pelton_worker_info", "1; its labels say what the worker serves.", "worker", "model", "engine"
        )
        self._requests()
        self._answers()
        self._times()
        self._waiting()
        self._backlog()
        self._engine()
        self._cache()
        self._endpoints()

    def _requests(self) -> None:
        self.fetched = self._counter("pelton_requests_fetched", "Request records fetched and admitted.")
        self.finished = self._counter(
            "pelton_requests_finished", "Requests whose reply was sent, by outcome code (ok, or an error's).", "code"
        )
        for code in ("ok", *ERROR_CODES):
            self.finished.labels(code)
        self.dead_letters = self._counter("pelton_dead_letters", "Records sent to a dead-letter topic.")
        self.commits = self._counter(
            "pelton_commits", "Commits of replies with the position in the request topic; by default transactions."
        )
        self.publish_failures = self._counter(
            "pelton_publish_failures", "Flushes of replies that failed and were tried again."
        )
        self.take_overs = self._counter(
            "pelton_take_overs", "Partitions taken over: on assignment, and after each failed commit."
        )
        self.lane_finished = self._counter(
            "pelton_lane_requests_finished", "Requests whose reply was sent, by lane.", "lane"
        )

    def _answers(self) -> None:
        self.tenant_tokens = self._counter(
            "pelton_tenant_tokens",
            "Tokens of answered requests, by tenant of worker.tenant_weights; other: all the rest.",
            "tenant",
        )
        self.tenant_tokens.labels(OTHER_TENANTS)
        self.variant_finished = self._counter(
            "pelton_variant_requests_finished",
            "Requests of experiments whose reply was sent, by variant of routing.experiments; other: all the rest.",
            "experiment",
            "variant",
            "route",
            "outcome",
        )
        self.truncated = self._counter(
            "pelton_requests_truncated", "Answered requests whose prompt was too long and was cut, by policy.", "policy"
        )
        for policy in (TruncationPolicy.MIDDLE, TruncationPolicy.OLDEST_TURNS):
            self.truncated.labels(policy)
        self.truncated_tokens = self._counter(
            "pelton_truncated_tokens", "Tokens by which prompts of answered requests were cut."
        )
        self.prompt_tokens = self._counter("pelton_prompt_tokens", "Prompt tokens of answered requests.")
        self.cached_tokens = self._counter(
            "pelton_cached_prompt_tokens", "Prompt tokens of answered requests that the engine had computed before."
        )
        self.generated_tokens = self._counter("pelton_generated_tokens", "Tokens generated for answered requests.")

    def _times(self) -> None:
        self.stage_seconds = self._histogram(
            "pelton_stage_seconds", "Seconds a request spent in each stage.", _SECONDS, "stage"
        )
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        self.first_token_seconds = self._histogram(
            "pelton_time_to_first_token_seconds", "From sending a request to its first token.", _REQUEST_SECONDS
        )
        self.token_seconds = self._histogram(
            "pelton_time_per_output_token_seconds", "Mean time between a request's tokens.", _TOKEN_SECONDS
        )
        self.request_seconds = self._histogram(
            "pelton_request_seconds", "From sending a request to its committed reply.", _REQUEST_SECONDS
        )
        self.step_seconds = self._histogram("pelton_step_seconds", "Time of an engine step.", _SECONDS)

    def _waiting(self) -> None:
        self.kafka_away = self._gauge("pelton_kafka_away", "1 while Kafka does not answer this worker.")
        self.partitions = self._gauge("pelton_partitions", "Partitions of request topics that this worker owns.")
        self.waiting_requests = self._gauge("pelton_waiting_requests", "Requests in the waiting line.")
        self.lane_waiting = self._gauge(
            "pelton_lane_waiting_requests", "Requests in the waiting line, by lane.", "lane"
        )
        for lane in Lane:
            self.lane_waiting.labels(lane)
            self.lane_finished.labels(lane)
        self.waiting_tokens = self._gauge("pelton_waiting_tokens", "Tokens in the waiting line.")
        self.waiting_sessions = self._gauge(
            "pelton_waiting_sessions", "Requests that wait for their turn in a session or its history."
        )
        self.waiting_quotas = self._gauge("pelton_waiting_quotas", "Requests that wait for their tenant's quota.")
        self.quota_decisions = self._counter(
            "pelton_quota_decisions", "Requests of tenants with a quota, by what became of them there.", "outcome"
        )
        for outcome in QuotaOutcome:
            self.quota_decisions.labels(outcome)
        self.overload_actions = self._counter(
            "pelton_overload_actions", "Requests that were refused or changed because of the load.", "action"
        )
        for action in OverloadAction:
            self.overload_actions.labels(action)

    def _backlog(self) -> None:
        self.backlog_requests = self._gauge(
            "pelton_backlog_requests", "Requests of this worker's partitions that are not answered, in Kafka or here."
        )
        self.backlog_tokens = self._gauge(
            "pelton_backlog_tokens", "Tokens that these take, at the mean of the requests answered lately."
        )
        self.tokens_per_second = self._gauge(
            "pelton_tokens_per_second", "Tokens of answered requests a second, over the last busy minute."
        )
        self.line_speed = self._gauge(
            "pelton_line_tokens_per_second",
            "Tokens of the waiting line (prompt and allowed answer) that join the engine a second, while something "
            "waits; NaN until measured.",
        )
        self.line_speed.set(math.nan)
        self.backlog_seconds = self._gauge(
            "pelton_backlog_seconds", "How long this worker takes for its backlog; NaN while its speed is unknown."
        )

    def _engine(self) -> None:
        self.running_requests = self._gauge("pelton_running_requests", "Requests in the engine.")
        self.batch_rows = self._histogram("pelton_batch_rows", "Requests per engine step.", _SIZES)
        self.batch_fill = self._histogram(
            "pelton_batch_fill", "Share of an engine step's tokens that were no padding.", _FRACTIONS
        )
        self.kv_pages = self._gauge("pelton_kv_pages", "KV pages that the engine has; 0 for one without pages.")
        self.kv_pages_used = self._gauge("pelton_kv_pages_used", "KV pages that running requests hold.")
        self.preemptions = self._counter(
            "pelton_preemptions", "Times that a running request gave its pages back, to be computed again."
        )
        self.prefix_lookups = self._counter(
            "pelton_prefix_lookup_tokens", "Prompt tokens looked up in the prefix cache."
        )
        self.prefix_hits = self._counter("pelton_prefix_hit_tokens", "Prompt tokens that it had.")
        self.drafted = self._counter("pelton_drafted_tokens", "Guessed tokens that steps verified.")
        self.accepted = self._counter("pelton_accepted_tokens", "Guessed tokens that came true.")

        self.gpu_utilization = self._gauge(
            "pelton_gpu_utilization_ratio",
            "Share of the time in which the GPU computes; needs pelton[nvml].",
            "gpu",
        )
        self.gpu_memory_used = self._gauge(
            "pelton_gpu_memory_used_bytes", "Memory of the GPU in use, by all processes; needs pelton[nvml].", "gpu"
        )
        self.gpu_memory_total = self._gauge(
            "pelton_gpu_memory_total_bytes", "Memory that the GPU has; needs pelton[nvml].", "gpu"
        )

    def _cache(self) -> None:
        self.cache_requests = self._counter(
            "pelton_cache_requests", "Answers sent, by where they came from.", "outcome"
        )
        for outcome in CacheOutcome:
            self.cache_requests.labels(outcome)
        self.cache_failures = self._counter(
            "pelton_cache_failures", "What went wrong with the shared cache, by kind.", "kind"
        )
        self.cache_local_bytes = self._gauge(
            "pelton_cache_local_bytes", "Memory that the worker's own cache tier takes."
        )
        self.cache_followers = self._gauge(
            "pelton_cache_followers", "Requests that wait for the answer to an equal one."
        )

    def _endpoints(self) -> None:
        """Of `engine.kind = "openai"`; for each that is configured from the start."""
        self.endpoint_limit = self._gauge(
            "pelton_endpoint_limit", "Requests that an endpoint is given at once.", "endpoint"
        )
        self.endpoint_running = self._gauge("pelton_endpoint_running", "Requests that an endpoint has.", "endpoint")
        self.endpoint_down = self._gauge("pelton_endpoint_down", "1 while an endpoint is taken to be away.", "endpoint")
        self.endpoint_paused = self._gauge(
            "pelton_endpoint_paused", "1 while an endpoint has asked for a pause.", "endpoint"
        )
        self.endpoint_calls = self._counter(
            "pelton_endpoint_calls", "Calls of an endpoint by what came of them.", "endpoint", "fate"
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> BatchHistogram:
        return BatchHistogram(name, meaning, labels, buckets=buckets, registry=self.registry)
