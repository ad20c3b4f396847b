"""When a request that joins the waiting line now will have its answer."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pelton.workers.engine.api import Waiting
from pelton.workers.fairness.speed import Speed, tokens_of

Asked = TypeVar("Asked", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds: in the line, as is likely and at the least, and in the engine."""

    wait_s: float
    least_wait_s: float
    own_s: float

    @property
    def seconds(self) -> float:
        return self.wait_s + self.own_s

    @property
    def least_s(self) -> float:
        """The answer cannot be there sooner, as far as the speed is right."""
        return self.least_wait_s + self.own_s


def estimate(  # noqa: PLR0913, PLR0917  # all that says how long it takes
    request: Asked,
    line: Sequence[Asked],
    running_s: Sequence[float],
    tenant_of: Callable[[Asked], str],
    speed: Speed,
    weights: Mapping[str, float],
) -> Estimate:
    """By what waits before it in its lane, and what runs, which takes `running_s` each. What waits for room in the line
    makes it only later.

    The wait is at least that for a row behind its own tenant's requests. It is also at least that for all that goes
    first to be computed, less what of it is running when the request joins the engine: no more than the longest takes.
    """
    tenant = tenant_of(request)
    by_tenant: dict[str, list[Asked]] = {}
    for each in line:
        if each.priority == request.priority:
            by_tenant.setdefault(tenant_of(each), []).append(each)
    own = by_tenant.pop(tenant, [])
    share = sum(map(tokens_of, own)) / weights.get(tenant, 1.0)
    ahead = sum(map(tokens_of, own)) + sum(
        _ahead(waiting, share * weights.get(name, 1.0)) for name, waiting in by_tenant.items()
    )
    wait_s = ahead / speed.tokens_per_s
    longest_s = max((_own_s(each, speed) for each in line if each.priority == request.priority), default=0.0)
    least_s = max(0.0, wait_s - longest_s, _first_row_s(own, running_s, speed))
    return Estimate(wait_s, least_s, _own_s(request, speed))


def _first_row_s(own: Sequence[Waiting], running_s: Sequence[float], speed: Speed) -> float:
    """When a row is free for who comes after these, which are given theirs in this order."""
    rows = [*running_s, *[0.0] * (speed.rows - len(running_s))]
    heapq.heapify(rows)
    for each in own:
        heapq.heapreplace(rows, rows[0] + _own_s(each, speed))
    return rows[0]


def _own_s(request: Waiting, speed: Speed) -> float:
    return speed.own_s(request.prompt_tokens, request.max_new_tokens)


def _ahead(waiting: Sequence[Waiting], share: float) -> float:
    """What another tenant is given before the request: its share beside what the request's own tenant is given until
    then, or all it asks for. Less one request: so far apart may those be that have waited together.
    """
    tokens = [tokens_of(each) for each in waiting]
    return max(0.0, min(sum(tokens), share) - max(tokens))
