"""One endpoint: how many requests it has, may have, and whether it is asked at all."""

import random
from collections import Counter
from dataclasses import dataclass, field

from pelton.workers.remote.concurrency import AdaptiveLimit
from pelton.workers.remote.verdict import Fate

MAX_FAILURES = 5
"""Failures in a row after which an endpoint is taken to be out of order."""

BUSY_FIRST_S = 0.25
BUSY_MAX_S = 30.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """`url` is its base URL, `fates` counts its calls by what came of them. Times are seconds on `time.monotonic`'s
    clock.

    One that is `down` gets no request until it shows that it is there; then it is on `trial` until its first answer,
    with as few requests as its limit allows.
    """

    url: str
    limit: AdaptiveLimit
    least: int
    running: int = 0
    paused_until: float = 0.0
    busy_at: float = 0.0
    busy_in_a_row: int = 0
    failures: int = 0
    down: bool = False
    trial: bool = False
    fates: Counter[Fate] = field(default_factory=Counter)

    def free(self, now: float) -> int:
        """How many more requests it may be given."""
        if self.down or now < self.paused_until:
            return 0
        most = min(self.least, self.limit.value) if self.trial else self.limit.value
        return max(0, most - self.running)

    def answered(self) -> None:
        """To be called before the answered request is taken off `running`."""
        self.limit.answered(self.running)
        self.failures = self.busy_in_a_row = 0
        self.trial = False

    def refused(self) -> None:
        """A request of its own fault is no less a sign of life."""
        self.failures = self.busy_in_a_row = 0
        self.trial = False

    def busy(self, sent_at: float, now: float, wait_s: float | None) -> None:
        """It does not take a request now, and wants none for `wait_s`; where it does not say, for longer each time.

        Many that were sent together count once.
        """
        self.limit.overloaded(sent_at, now)
        if sent_at >= self.busy_at:
            self.busy_in_a_row += 1
            self.busy_at = now
            if not wait_s:
                doubled = min(BUSY_MAX_S, BUSY_FIRST_S * 2.0 ** min(self.busy_in_a_row - 1, 10))
                wait_s = doubled * random.uniform(0.5, 1.0)  # noqa: S311  # jitter needs no secrecy
        self.paused_until = max(self.paused_until, now + (wait_s or 0.0))

    def failed(self, sent_at: float, now: float) -> None:
        """An attempt failed there."""
        self.limit.overloaded(sent_at, now)
        self.failures += 1
        if self.failures >= MAX_FAILURES or self.trial:
            self.down = True

    def unreachable(self) -> None:
        self.down = True

    def is_back(self) -> None:
        """It has shown that it is there."""
        self.down = False
        self.trial = True
