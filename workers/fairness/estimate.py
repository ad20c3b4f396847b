"""When a request that joins the waiting line now will have its answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pelton.workers.engine.api import Waiting
from pelton.workers.fairness.speed import Speed, tokens_of

Asked = TypeVar("Asked", bound=Waiting)


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


def estimate(
    request: Asked, line: Sequence[Asked], tenant_of: Callable[[Asked], str], speed: Speed, weights: Mapping[str, float]
) -> Estimate:
    """By what waits before it in its lane. What waits for room in the line, or runs, makes it only later."""
    tenant = tenant_of(request)
    by_tenant: dict[str, list[Asked]] = {}
    for each in line:
        if each.priority == request.priority:
            by_tenant.setdefault(tenant_of(each), []).append(each)
    own = sum(map(tokens_of, by_tenant.pop(tenant, ())))
    share = own / weights.get(tenant, 1.0)
    ahead = own + sum(_ahead(waiting, share * weights.get(name, 1.0)) for name, waiting in by_tenant.items())
    longest_s = max((_own_s(each, speed) for each in line if each.priority == request.priority), default=0.0)
    return Estimate(ahead / speed.tokens_per_s, _own_s(request, speed), longest_s)


def _own_s(request: Waiting, speed: Speed) -> float:
    return speed.own_s(request.prompt_tokens, request.max_new_tokens)


def _ahead(waiting: Sequence[Waiting], share: float) -> float:
    """What another tenant is given before the request: its share beside what the request's own tenant is given until
    then, or all it asks for. Less one request: so far apart may those be that have waited together.
    """
    tokens = [tokens_of(each) for each in waiting]
    return max(0.0, min(sum(tokens), share) - max(tokens))
