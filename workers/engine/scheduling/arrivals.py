"""How often something arrives, and how long it is worth waiting for the next."""

import math
from dataclasses import dataclass

SPAN_S = 1.0
"""After which an arrival counts for a third (1/e)."""


@dataclass(slots=True)
class ArrivalRate:
    """Arrivals a second, as a mean in which each counts the less the longer it is ago.

    Times are on one monotonic clock; one that lies before the latest is taken for that. To be used on one thread at a
    time.
    """

    span_s: float = SPAN_S
    _rate: float = 0.0
    _at: float = -math.inf

    def arrived(self, now: float) -> None:
        """One more."""
        self._rate = self.per_s(now) + 1 / self.span_s
        self._at = max(self._at, now)

    def per_s(self, now: float) -> float:
        """The mean by `now`. The latest arrival is among those it is made of: of a single one it says 1 / `span_s`."""
        return self._rate * math.exp(-max(0.0, now - self._at) / self.span_s)

    def window_s(self, longest_s: float, now: float) -> float:
        """How long to gather, at most `longest_s`, so that batches come `1 / longest_s` times a second at most.

        While less arrives than that, each may go at once: to wait would only delay it. As more arrives, the wait is
        `longest_s` less the time between two arrivals: it comes near `longest_s` when very many can share a batch.
        """
        rate = self.per_s(now)
        return max(0.0, longest_s - 1 / rate) if rate > 0 else 0.0
