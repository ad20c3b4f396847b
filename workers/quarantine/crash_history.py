"""What a request is suspected of when workers died that had it in their engine."""

from dataclasses import dataclass

SPLIT = 4
"""Suspects run in groups of a quarter of those that were together when the worker died, so that each further crash
leaves a quarter of them. Compared with halves that is as many groups at worst, fewer on average, and half the crashes,
each of which costs a start with a model to load."""


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """How many `crashes` the request was in the engine for, how many were `together` at the last, how often `alone`."""

    crashes: int = 0
    together: int = 0
    alone: int = 0

    def after_crash(self, together: int) -> "CrashHistory":
        """One more crash, with `together` requests in the engine, this one included."""
        return CrashHistory(self.crashes + 1, together, self.alone + (together == 1))

    @property
    def most_together(self) -> int:
        """In how large a group of suspects the request may run next."""
        return max(1, self.together // SPLIT)


NO_CRASHES = CrashHistory()
