"""What is counted of replies once they are committed."""

import logging
import time
from collections.abc import Iterable

from pelton.pipeline.metrics import Metrics
from pelton.workers.containment import harmless
from pelton.workers.requests import Failed, Generated, OutgoingReply, Result
from pelton.workers.sharing.reply_cache import ReplyCache

log = logging.getLogger(__name__)


class ReplyCounter:
    """Fills the figures of this worker, and those that all workers share."""

    def __init__(self, metrics: Metrics, recall: ReplyCache) -> None:
        self._metrics = metrics
        self._recall = recall

    def count(self, replies: Iterable[OutgoingReply]) -> None:
        """Note what has been committed."""
        for reply in replies:
            with harmless("count a reply"):
                self._count(reply.ending)

    def _count(self, ending: Result) -> None:
        metrics, stage = self._metrics, self._metrics.stage_seconds
        stage.labels("queue").observe(ending.ticket.queue_s)
        if isinstance(ending, Failed):
            metrics.finished.labels(ending.error.code).inc()
            metrics.dead_letters.inc(ending.error.dead_letter)
            log.warning("%s ended with %s: %s", ending.ticket.record.source, ending.error.code, ending.error.message)
            return
        metrics.finished.labels("ok").inc()
        metrics.cache_requests.labels(ending.outcome).inc()
        self._recall.count(ending.outcome)
        if not isinstance(ending, Generated):
            return
        metrics.prompt_tokens.inc(len(ending.job.prompt))
        metrics.cached_tokens.inc(ending.completion.cached_tokens)
        metrics.generated_tokens.inc(ending.completion.generated_tokens)
        stage.labels("batch_wait").observe(ending.batch_wait_s)
        stage.labels("prefill").observe(ending.completion.prefill_s)
        stage.labels("decode").observe(ending.completion.decode_s)
        stage.labels("publish").observe(time.monotonic() - ending.finished_at)
