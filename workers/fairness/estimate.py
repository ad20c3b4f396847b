"""When a request that joins the waiting line now will have its answer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.fairness.speed import Speed
from pelton.workers.requests import PreparedRequest
from pelton.workers.sharing.generation import Generation

Queued = QueuedRequest[Generation]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds: in the line, in the engine, and by how much the first may be too long, as answers end one by one."""

    wait_s: float
    own_s: float
    slack_s: float

    @property
    def seconds(self) -> float:
        return self.wait_s + self.own_s

    @property
    def least_s(self) -> float:
        """The answer cannot be there sooner, as far as the speed is right.

        When the request joins the engine, all before it have, but the rest of what is then running is not computed:
        at most as much as the longest of those takes by itself.
        """
        return max(0.0, self.wait_s - self.slack_s) + self.own_s


def estimate(job: PreparedRequest, line: Sequence[Queued], speed: Speed, weights: Mapping[str, float]) -> Estimate:
    """By what waits before it in its lane. What waits for room in the line, or runs, makes it only later."""
    envelope = job.delivery.envelope
    tenant, priority = envelope.tenant, envelope.lane.priority
    lane = [each for each in line if each.priority == priority]
    own = sum(each.tokens for each in lane if _tenant(each) == tenant)
    ahead = own + sum(_others_ahead(lane, tenant, own / weights.get(tenant, 1.0), weights))
    longest_s = max((speed.own_s(each.prompt_tokens, each.max_new_tokens) for each in lane), default=0.0)
    return Estimate(
        wait_s=ahead / speed.tokens_per_s,
        own_s=speed.own_s(len(job.prompt), job.max_new_tokens),
        slack_s=longest_s,
    )


def _tenant(queued: Queued) -> str:
    return queued.item.job.delivery.envelope.tenant


def _others_ahead(lane: Sequence[Queued], tenant: str, own_share: float, weights: Mapping[str, float]) -> list[float]:
    """What each of the other tenants is given before the request: as much as its own tenant, by weight, or all it asks
    for. Less one request each: so far apart may those be that have waited together.
    """
    waiting: Counter[str] = Counter()
    largest: dict[str, int] = {}
    for each in lane:
        name = _tenant(each)
        if name != tenant:
            waiting[name] += each.tokens
            largest[name] = max(largest.get(name, 0), each.tokens)
    return [
        max(0.0, min(tokens, own_share * weights.get(name, 1.0)) - largest[name]) for name, tokens in waiting.items()
    ]
