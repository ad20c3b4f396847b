"""What the metrics show of committed replies."""

import logging
import time
from collections.abc import Collection, Sequence

from pelton.pipeline.metrics import OTHER_TENANTS, STAGES, Metrics
from pelton.workers.containment import harmless
from pelton.workers.delivery.backlog import BacklogMeter
from pelton.workers.requests import Failed, Generated, OutgoingReply, Result
from pelton.workers.sharing.reply_cache import ReplyCache

log = logging.getLogger(__name__)


class ReplyCounts:
    """Counts replies and times their way. Lives on the event loop."""

    def __init__(
        self, metrics: Metrics, recall: ReplyCache, backlog: BacklogMeter, tenants: Collection[str] = ()
    ) -> None:
        """Of `tenants` tokens are counted by name; each is there from the start."""
        self._metrics = metrics
        # Looked up once: it is asked for several with each reply.
        self._stages = {name: metrics.stage_seconds.labels(name) for name in STAGES}
        self._ok = metrics.finished.labels("ok")
        self._recall = recall
        self._backlog = backlog
        self._tenants = frozenset(tenants)
        for tenant in tenants:
            metrics.tenant_tokens.labels(tenant)

    def note(self, parcels: Sequence[OutgoingReply]) -> None:
        """Note a commit, which may be of no reply."""
        self._metrics.commits.inc()
        for parcel in parcels:
            with harmless("count a reply"):
                self._note(parcel.ending)

    def _note(self, ending: Result) -> None:
        metrics, ticket, now = self._metrics, ending.ticket, time.monotonic()
        self._stages["queue"].observe(ticket.queue_s)
        metrics.request_seconds.observe(ticket.queue_s + now - ticket.fetched_at)
        metrics.lane_finished.labels(ticket.envelope.lane).inc()
        if isinstance(ending, Failed):
            self._backlog.answered(0)
            metrics.finished.labels(ending.error.code).inc()
            metrics.dead_letters.inc(ending.error.dead_letter)
            log.warning(
                "%s ended with %s: %s",
                *(ticket.record.source, ending.error.code, ending.error.message), extra=ticket.log_fields,
            )  # fmt: skip
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s is answered (%s)", ticket.record.source, ending.outcome, extra=ticket.log_fields)
        self._ok.inc()
        metrics.cache_requests.labels(ending.outcome).inc()
        self._recall.count(ending.outcome)
        if isinstance(ending, Generated):
            self._note_generated(ending, now)
        else:
            self._backlog.answered(0)

    def _note_generated(self, ending: Generated, now: float) -> None:
        metrics, stages, completion = self._metrics, self._stages, ending.completion
        metrics.prompt_tokens.inc(ending.prompt_tokens)
        metrics.cached_tokens.inc(completion.cached_tokens)
        metrics.generated_tokens.inc(completion.generated_tokens)
        tenant = ending.ticket.envelope.tenant
        metrics.tenant_tokens.labels(tenant if tenant in self._tenants else OTHER_TENANTS).inc(
            ending.prompt_tokens + completion.generated_tokens
        )
        self._backlog.answered(ending.prompt_tokens - completion.cached_tokens + completion.generated_tokens)
        stages["batch_wait"].observe(ending.batch_wait_s)
        stages["prefill"].observe(completion.prefill_s)
        stages["decode"].observe(completion.decode_s)
        stages["publish"].observe(now - ending.finished_at)
        metrics.first_token_seconds.observe(ending.ticket.queue_s + ending.batch_wait_s + completion.prefill_s)
        if (steps := len(completion.token_ids) - 1) > 0:
            metrics.token_seconds.observe(completion.decode_s / steps)
