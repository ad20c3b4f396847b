"""Waits between attempts: growing, bounded, and never in step with others."""

import random


class Backoff:
    """Doubles from `first_s` to `most_s`; drawn from the upper half of that, so that workers do not retry as one."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # jitter needs no secrecy
        self._next_s = min(2 * self._next_s, self._most_s)
        return wait_s

    def reset(self) -> None:
        """Start anew after a success."""
        self._next_s = self._first_s
