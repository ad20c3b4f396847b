"""Nothing is refused for its deadline that could have been answered by it."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.metrics import Metrics, OverloadAction
from pelton.pipeline.request_queue import QueuedRequest
from pelton.pipeline.settings.quota import OverloadSettings
from pelton.workers.fairness.early_refusal import EarlyRefusal
from pelton.workers.fairness.estimate import Estimate, estimate
from pelton.workers.fairness.fair_order import Claim, FairOrder
from pelton.workers.fairness.speed import Speed, SpeedMeter
from pelton.workers.requests import CacheKeys, PreparedRequest
from pelton.workers.sharing.generation import Generation
from tests.unit._support.single_flight import REQUEST, delivery

PACE_S = 0.01
"""Of each row, for a token of prompt or answer."""
NOW_S = 1_800_000_000.0
tenants = st.sampled_from("abc")
sizes = st.integers(2, 100)
askers = st.lists(st.tuples(tenants, sizes), max_size=25)


def asked(tenant: str, tokens: int, deadline_s: float | None = None) -> PreparedRequest:
    """One token of prompt, the rest to be generated."""
    headers = [("pelton-tenant", tenant.encode())]
    if deadline_s is not None:
        headers.append(("pelton-deadline", str(int((NOW_S + deadline_s) * 1_000)).encode()))
    return PreparedRequest(delivery(headers=tuple(headers)), REQUEST, [1], tokens - 1, keys=CacheKeys())


def queued(job: PreparedRequest) -> QueuedRequest[Generation]:
    generation = Generation(None, job)
    generation.add(job)
    return generation.queued


def exact(rows: int) -> Speed:
    return Speed(rows / PACE_S, rows, PACE_S, PACE_S, 1.0)


def answered_at(
    line: Sequence[PreparedRequest], busy: Sequence[int], last: PreparedRequest, charged: Sequence[int]
) -> float:
    """Seconds until `last`, which comes after `line`, is answered by an engine whose rows have `busy` tokens to go.

    Of the first of the line in order, as many tokens are `charged` to its tenant already, at most a request of its own.
    """
    fair, waiting = FairOrder({}), [*line, last]
    claims = {id(job): Claim(0, job.delivery.envelope.tenant, len(job.prompt) + job.max_new_tokens) for job in waiting}
    fair.order([claims[id(job)] for job in line])
    largest = Counter[str]()
    for job in line:
        claim = claims[id(job)]
        largest[claim.tenant] = max(largest[claim.tenant], claim.tokens)
    for tenant, tokens in zip("abc", charged, strict=True):
        fair.charge(Claim(0, tenant, min(tokens, largest[tenant])))
    free = [tokens * PACE_S for tokens in busy]
    heapq.heapify(free)
    while True:
        now = heapq.heappop(free)
        job = waiting.pop(fair.order([claims[id(each)] for each in waiting])[0])
        ends = now + claims[id(job)].tokens * PACE_S
        if job is last:
            return ends
        fair.charge(claims[id(job)])
        heapq.heappush(free, ends)


def estimated(line: Sequence[PreparedRequest], busy: Sequence[int], last: PreparedRequest) -> Estimate:
    running_s = [tokens * PACE_S for tokens in busy if tokens]
    return estimate(queued(last), [queued(job) for job in line], running_s, tenant_of, exact(len(busy)), {})


def tenant_of(waiting: QueuedRequest[Generation]) -> str:
    return waiting.item.job.delivery.envelope.tenant


@given(
    askers,
    st.tuples(tenants, sizes),
    st.lists(st.integers(0, 100), min_size=1, max_size=6),
    st.tuples(*[st.integers(0, 100)] * 3),
)
def test_no_answer_comes_before_the_least_of_its_estimate(
    others: list[tuple[str, int]], own: tuple[str, int], busy: list[int], charged: tuple[int, int, int]
) -> None:
    """With exact speeds, whatever runs and whoever waits: so nothing that could have ended in time is refused."""
    line, last = [asked(*each) for each in others], asked(*own)
    assert estimated(line, busy, last).least_s <= answered_at(line, busy, last, charged) + 1e-9


@given(st.lists(sizes, max_size=25), sizes, st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_of_one_tenant_the_least_is_just_what_it_takes(waiting: list[int], own: int, busy: list[int]) -> None:
    """With exact speeds; so what is refused is all that would be late."""
    line, last = [asked("a", tokens) for tokens in waiting], asked("a", own)
    found, true = estimated(line, busy, last), answered_at(line, busy, last, (0, 0, 0))
    assert found.least_s == pytest.approx(true)
    assert true <= found.seconds + sum(busy) * PACE_S / len(busy) + 1e-9


def test_another_lane_and_an_empty_line_are_no_wait() -> None:
    """An interactive request does not wait for batch; one that comes into an empty line only for itself."""
    person = PreparedRequest(delivery(headers=(("pelton-priority", b"interactive"),)), REQUEST, [1], 9)
    flood = [queued(asked("a", 100)) for _ in range(50)]
    assert estimate(queued(person), flood, [], tenant_of, exact(1), {}).seconds == pytest.approx(10 * PACE_S)
    assert estimate(queued(asked("a", 10)), [], [], tenant_of, exact(1), {}).least_s == pytest.approx(10 * PACE_S)


@dataclass(frozen=True)
class Line:
    places: tuple[QueuedRequest[Generation], ...]

    def waiting(self) -> tuple[QueuedRequest[Generation], ...]:
        return self.places


def refusing(speed: Speed | None, *, on: bool = True, waiting: int = 10) -> tuple[EarlyRefusal, Metrics]:
    """One row, and requests of a second each before whoever comes."""
    metrics = Metrics()
    line = Line(tuple(queued(asked("a", 100)) for _ in range(waiting)))
    settings = OverloadSettings(refuse_late=on, late_margin=0.25)
    refusal = EarlyRefusal(settings, cast(Any, line), SpeedMeter(speed=speed), {}, metrics, now_s=lambda: NOW_S)
    return refusal, metrics


def test_what_would_be_late_is_refused_with_the_estimate() -> None:
    """Ten seconds of work wait, and its own takes one: by 7 s it cannot be there, be the speed a quarter higher."""
    refusal, metrics = refusing(exact(1))
    with pytest.raises(DeadlineExceeded, match=r"about 11\.0 s.*\(100 tokens/s\).*passes in 7\.0 s") as refused:
        refusal.check(asked("a", 100, 7.0))
    assert refused.value.param == "pelton-deadline"
    assert not refused.value.dead_letter
    assert refused.value.for_load
    assert refused.value.body()["error"]["code"] == "deadline_exceeded"
    assert metrics.overload_actions.labels(OverloadAction.REFUSED_LATE)._value.get() == 1


@pytest.mark.parametrize(
    ("speed", "on", "deadline_s"),
    [(exact(1), True, 8.9), (exact(1), True, None), (None, True, 0.5), (exact(1), False, 0.5)],
    ids=["within the margin", "no deadline", "no speed yet", "off"],
)
def test_nothing_else_is_refused(*, speed: Speed | None, on: bool, deadline_s: float | None) -> None:
    """Neither what a somewhat faster worker would answer in time, nor anything before the speed is known."""
    refusal, metrics = refusing(speed, on=on)
    refusal.check(asked("a", 100, deadline_s))
    assert metrics.overload_actions.labels(OverloadAction.REFUSED_LATE)._value.get() == 0
