"""For warnings that others can cause at will: a flood of them must not become a flood of lines."""

import time
from collections.abc import Callable

PERIOD_S = 60.0


class SparseLog:
    """Counts what happens and says when a line about it is due: for the first, and then once a minute at most."""

    def __init__(self, period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._count = 0
        self._next = float("-inf")

    def due(self) -> int:
        """Count one more. How many there were since the last line where one is due now, else 0."""
        self._count += 1
        now = self._clock()
        if now < self._next:
            return 0
        self._next = now + self._period_s
        count, self._count = self._count, 0
        return count
