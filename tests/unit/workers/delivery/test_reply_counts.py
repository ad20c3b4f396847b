"""What the metrics show of a commit is the sum of what its replies are."""

from typing import Any

import pytest

from pelton.pipeline.errors import InvalidValue, Overloaded
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.headers import Envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.engine.api import Completion, FinishReason
from pelton.workers.fairness.backlog import BacklogMeter
from pelton.workers.requests import (
    CacheHit,
    CacheKeys,
    Delivery,
    Failed,
    Generated,
    OutgoingReply,
    PreparedRequest,
    Result,
)

REQUEST = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "hi"}]})


class Cache:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}

    def count(self, outcome: CacheOutcome, replies: int) -> None:
        self.counted[outcome] = self.counted.get(outcome, 0) + replies


def delivery(tenant: str = "") -> Delivery:
    source = Source("requests", 0, 1)
    record = RequestRecord(source, None, b"{}", [], 1_000, 0)
    return Delivery(record, Envelope(source, b"id", "replies", tenant=tenant), OffsetTracker(), 0.0, 2.0)


def generated(tenant: str, tokens: int) -> Generated:
    """From a prompt of 10 tokens, 4 of which the engine had."""
    completion = Completion(1, tuple(range(tokens)), FinishReason.STOP, 0.5, 1.0, cached_tokens=4)
    return Generated(PreparedRequest(delivery(tenant), REQUEST, range(10), 99), completion, 0.25, 0.0)


def noted(endings: list[Result]) -> tuple[Metrics, Cache, BacklogMeter, ReplyCounts]:
    metrics, cache, backlog = Metrics(), Cache(), BacklogMeter()
    counts = ReplyCounts(metrics, cache, backlog, ["acme"])  # type: ignore[arg-type]  # a cache that only counts
    counts.note([OutgoingReply(ending, ()) for ending in endings])
    return metrics, cache, backlog, counts


def test_a_commit_counts_each_of_its_replies() -> None:
    """By outcome, lane, tenant and stage; errors by their code, and none among the answers."""
    hit = CacheHit(delivery(), CacheKeys(), b"{}", CacheOutcome.HIT_LOCAL)
    failed = Failed(delivery(), InvalidValue("odd.", param="stop"))
    metrics, cache, backlog, _ = noted([generated("acme", 3), generated("", 5), hit, hit, failed])
    value = metrics.registry.get_sample_value
    assert value("pelton_commits_total") == 1
    assert value("pelton_requests_finished_total", {"code": "ok"}) == 4
    assert value("pelton_requests_finished_total", {"code": "invalid_value"}) == 1
    assert value("pelton_lane_requests_finished_total", {"lane": "batch"}) == 5
    assert value("pelton_cache_requests_total", {"outcome": "hit-local"}) == 2
    assert value("pelton_cache_requests_total", {"outcome": "bypass"}) == 2
    assert cache.counted == {CacheOutcome.HIT_LOCAL: 2, CacheOutcome.BYPASS: 2}
    assert value("pelton_prompt_tokens_total") == 20
    assert value("pelton_cached_prompt_tokens_total") == 8
    assert value("pelton_generated_tokens_total") == 8
    assert value("pelton_tenant_tokens_total", {"tenant": "acme"}) == 13
    assert value("pelton_tenant_tokens_total", {"tenant": "other"}) == 15
    assert value("pelton_stage_seconds_count", {"stage": "queue"}) == 5
    assert value("pelton_stage_seconds_sum", {"stage": "prefill"}) == pytest.approx(1)
    assert value("pelton_time_to_first_token_seconds_sum") == pytest.approx(2 * 2.75)
    assert value("pelton_time_per_output_token_seconds_sum") == pytest.approx(1 / 2 + 1 / 4)
    backlog.look(5)
    assert (backlog.look(5).requests, sum(each.requests for each in backlog._stretches)) == (5, 5)
    assert sum(each.tokens for each in backlog._stretches) == 20


def test_what_is_refused_for_the_load_does_not_make_the_worker_fast() -> None:
    """It is an error like another everywhere but in the backlog's speed."""
    metrics, _, backlog, _ = noted([Failed(delivery(), Overloaded("full.", retry_after_s=1, for_load=True))])
    assert metrics.registry.get_sample_value("pelton_requests_finished_total", {"code": "overloaded"}) == 1
    assert backlog._now.requests == 0


def test_figures_that_fail_harm_no_others(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in one kind of figure is logged, and the others are noted all the same."""
    broken: Any = generated("", 3)
    object.__setattr__(broken, "completion", None)
    metrics, _, _, _ = noted([broken, generated("", 3)])
    assert metrics.registry.get_sample_value("pelton_requests_finished_total", {"code": "ok"}) == 2
    assert "failed to count generated answers" in caplog.text
