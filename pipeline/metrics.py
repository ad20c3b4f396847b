"""Every metric's name, kind and meaning, declared once."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """One worker's metrics, in a registry of their own so that two workers can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.fetched = Counter("pelton_requests_fetched", "Request records fetched and admitted.", registry=r)
        self.finished = Counter(
            "pelton_requests_finished",
            "Requests whose reply was sent, by outcome code (ok, or an error's).",
            ["code"],
            registry=r,
        )
        self.dead_letters = Counter("pelton_dead_letters", "Records sent to a dead-letter topic.", registry=r)
        self.prompt_tokens = Counter("pelton_prompt_tokens", "Prompt tokens of answered requests.", registry=r)
        self.cached_tokens = Counter(
            "pelton_cached_prompt_tokens",
            "Prompt tokens of answered requests that the engine had computed before.",
            registry=r,
        )
        self.generated_tokens = Counter(
            "pelton_generated_tokens", "Tokens generated for answered requests.", registry=r
        )
        self.waiting_requests = Gauge("pelton_waiting_requests", "Requests in the waiting line.", registry=r)
        self.waiting_tokens = Gauge("pelton_waiting_tokens", "Tokens in the waiting line.", registry=r)
        self.waiting_sessions = Gauge(
            "pelton_waiting_sessions", "Requests that wait for their turn in a session or its history.", registry=r
        )
        self.running_requests = Gauge("pelton_running_requests", "Requests in the engine.", registry=r)
        self.batch_rows = Histogram("pelton_batch_rows", "Requests per engine step.", buckets=_SIZES, registry=r)
        self.batch_fill = Histogram(
            "pelton_batch_fill",
            "Share of an engine step's tokens that were no padding.",
            buckets=_FRACTIONS,
            registry=r,
        )
        self.stage_seconds = Histogram(
            "pelton_stage_seconds",
            "Seconds a request spent in each stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=r,
        )
        self.cache_requests = Counter(
            "pelton_cache_requests", "Answers sent, by where they came from.", ["outcome"], registry=r
        )
        self.cache_failures = Counter(
            "pelton_cache_failures", "What went wrong with the shared cache, by kind.", ["kind"], registry=r
        )
        self.cache_local_bytes = Gauge(
            "pelton_cache_local_bytes", "Memory that the worker's own cache tier takes.", registry=r
        )
        self.cache_followers = Gauge(
            "pelton_cache_followers", "Requests that wait for the answer to an equal one.", registry=r
        )
        self.publish_failures = Counter(
            "pelton_publish_failures", "Flushes of replies that failed and were tried again.", registry=r
        )
