"""What the metrics show of the engine's steps."""

from pelton.pipeline.metrics import Metrics
from pelton.workers.engine.stats import KVCacheStats, SpeculationStats, StepStats


class StepMetrics:
    """Used on the inference thread only."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._last = KVCacheStats()
        self._last_guesses = SpeculationStats()

    def observe(self, stats: StepStats | None, running: int, seconds: float) -> None:
        """Note a step of `seconds`, after which so many requests are `running`."""
        metrics = self._metrics
        metrics.running_requests.set(running)
        if stats is None or not stats.computed_tokens:
            return
        metrics.step_seconds.observe(seconds)
        metrics.batch_rows.observe(stats.rows)
        metrics.batch_fill.observe(stats.useful_tokens / stats.computed_tokens)
        now, last = stats.kv_cache, self._last
        metrics.kv_pages.set(now.pages)
        metrics.kv_pages_used.set(now.pages_used)
        metrics.preemptions.inc(now.preemptions - last.preemptions)
        metrics.prefix_lookups.inc(now.prefix_lookup_tokens - last.prefix_lookup_tokens)
        metrics.prefix_hits.inc(now.prefix_hit_tokens - last.prefix_hit_tokens)
        self._last = now
        guesses, before = stats.speculation, self._last_guesses
        metrics.drafted.inc(guesses.drafted - before.drafted)
        metrics.accepted.inc(guesses.accepted - before.accepted)
        self._last_guesses = guesses
