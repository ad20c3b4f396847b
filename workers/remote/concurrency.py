"""How many requests an endpoint is given at once: found out, as TCP finds out what a path carries."""

BACKOFF = 0.7
"""What an overload leaves of the limit."""
FORGOTTEN = 0.9
"""The part of the limit that the first overload showed which each further one in a row leaves."""
FIRST = 8


class AdaptiveLimit:
    """Between `least` and `most`: additive increase, multiplicative decrease.

    Each answer raises the limit by one until the first overload, which doubles it in the time of an answer; after that
    by one in the time of an answer. What has been carried before is reached again by doubling: an overload that was
    none of ours is soon made good. Requests that were sent before the limit was lowered tell nothing new.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._limit = float(max(least, min(FIRST, most)))
        self._known_good = float(most)
        self._lowered_at = float("-inf")
        self._answered_since = True

    @property
    def value(self) -> int:
        return int(self._limit)

    def answered(self, running: int) -> None:
        """An answer has come while that many were running, itself included. A limit that is not used is not raised."""
        self._answered_since = True
        if 2 * running < self.value:
            return
        step = 1.0 if self._limit < self._known_good else 1.0 / self._limit
        self._limit = min(float(self._most), self._limit + step)

    def overloaded(self, sent_at: float, now: float) -> None:
        """A request of that time was too much."""
        if sent_at < self._lowered_at or self._limit <= self._least:
            return
        carried = self._limit * BACKOFF
        # Of overloads in a row the first shows the load that is carried; the others, that nothing is.
        self._known_good = carried if self._answered_since else max(carried, FORGOTTEN * self._known_good)
        self._answered_since = False
        self._limit = max(float(self._least), carried)
        self._lowered_at = now
