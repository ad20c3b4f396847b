"""What senders want beyond an answer: to go first, a share or a quota of a tenant's, an end by some time, no answer."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane

Over = Literal["wait", "refuse"]

HEAVY, METERED, NARROW, SMALL = "heavy", "metered", "narrow", "small"
"""Tenants: one of a larger weight, and three with quotas: of requests a minute, of so many at once, and of fewer tokens
a minute than what it asks for."""
TENANT_SHARES = {HEAVY: 0.1, METERED: 0.03, NARROW: 0.05}
METERED_PART = 0.8
"""Of what it asks for."""
AT_ONCE = 4
SMALL_TOKENS = 2_000
LANE_SHARE, DEADLINE_SHARE, CANCEL_SHARE = 0.1, 0.04, 0.05
DEADLINES_S, CANCELS_S = (0.5, 8.0), (0.0, 3.0)
CANCELLED, TOO_LATE, LIMITED = "cancelled", "deadline_exceeded", "rate_limited"


@dataclass(frozen=True, slots=True)
class Wishes:
    """`deadline_s` and `cancel_after_s` are counted from when the request is sent; `ends` are the codes of the errors
    with which it may end for all that, in place of what is due.
    """

    tenant: str = ""
    lane: Lane | None = None
    deadline_s: float | None = None
    cancel_after_s: float | None = None
    ends: tuple[str, ...] = ()

    def headers(self, now_ms: int) -> Iterator[tuple[str, bytes]]:
        if self.tenant:
            yield contract.TENANT, self.tenant.encode()
        if self.lane is not None:
            yield contract.PRIORITY, self.lane.encode()
        if self.deadline_s is not None:
            yield contract.DEADLINE, str(now_ms + round(self.deadline_s * 1000)).encode()


def over(seed: int) -> Over:
    """What becomes of requests over a quota in a run: the setting is the same for all workers and tenants."""
    return "wait" if seed % 2 else "refuse"


def draw(rng: random.Random, seed: int) -> Wishes:
    """Of a request that would be answered otherwise."""
    tenant = rng.choices(["", *TENANT_SHARES], [1 - sum(TENANT_SHARES.values()), *TENANT_SHARES.values()])[0]
    lane = rng.choice(list(Lane)) if rng.random() < LANE_SHARE else None
    deadline_s = rng.uniform(*DEADLINES_S) if rng.random() < DEADLINE_SHARE else None
    cancel_after_s = rng.uniform(*CANCELS_S) if rng.random() < CANCEL_SHARE else None
    may_end = {
        LIMITED: tenant in {METERED, NARROW} and over(seed) == "refuse",
        TOO_LATE: deadline_s is not None,
        CANCELLED: cancel_after_s is not None,
    }
    return Wishes(tenant, lane, deadline_s, cancel_after_s, tuple(code for code, may in may_end.items() if may))


def settings(seed: int, per_minute: float) -> dict[str, str]:
    """Of the workers, where so many requests are sent a minute by all: the metered one's are a few too many."""
    quotas = {
        METERED: {"requests_per_minute": max(1, round(per_minute * TENANT_SHARES[METERED] * METERED_PART))},
        NARROW: {"running": AT_ONCE},
        SMALL: {"tokens_per_minute": SMALL_TOKENS},
    }
    return {
        "PELTON_WORKER__TENANT_WEIGHTS": orjson.dumps({HEAVY: 3.0}).decode(),
        "PELTON_QUOTA__TENANTS": orjson.dumps(quotas).decode(),
        "PELTON_QUOTA__OVER": over(seed),
    }
