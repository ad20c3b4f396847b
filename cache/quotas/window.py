"""The arithmetic of a sliding window: what was used is counted in slots, and leaves the window slot by slot.

The slot in which the window begins counts in full. So no stretch of a window's length ever holds more than the limit,
and what may be used in the long run falls short of it by at most one slot in as many as the window has.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Times are milliseconds of the Unix epoch, slots are numbered from there."""

    length_ms: int = 60_000
    slots: int = 60

    @property
    def slot_ms(self) -> float:
        return self.length_ms / self.slots

    def slot(self, now_ms: float) -> int:
        return math.floor(now_ms / self.slot_ms)

    def first(self, now_ms: float) -> int:
        """The oldest slot that counts."""
        return self.slot(now_ms - self.length_ms)

    def leaves_ms(self, slot: int) -> float:
        """When a slot no longer counts."""
        return (slot + 1) * self.slot_ms + self.length_ms

    def wait_ms(self, used: Mapping[int, float], limit: float | None, charge: float, now_ms: float) -> float:
        """How long until `charge` fits beside what was used by slot: 0 where it does, infinite where it never will."""
        if limit is None:
            return 0.0
        counted = {slot: amount for slot, amount in used.items() if slot >= self.first(now_ms)}
        surplus = sum(counted.values()) + charge - limit
        if surplus <= 0:
            return 0.0
        for slot in sorted(counted):
            surplus -= counted[slot]
            if surplus <= 0:
                return self.leaves_ms(slot) - now_ms
        return math.inf
