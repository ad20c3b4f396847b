"""Whether another model answers for one that is behind: by the seconds that both pools' backlogs take."""

import math
import time
from collections.abc import Callable

from pelton.pipeline.settings.routing.experiments import Overflow

STALE_S = 30.0
"""A decision that nothing has confirmed for so long is given up: requests go by their weights again."""


class OverflowSwitch:
    """One experiment's, on or off. `clock` is monotonic."""

    def __init__(self, settings: Overflow, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._is_on = False
        self._looked = clock()

    @property
    def is_on(self) -> bool:
        return self._is_on and self._clock() - self._looked <= STALE_S

    def look(self, behind_s: float, other_s: float) -> bool:
        """Take in how long the backlogs take, of the variant's pool and of the one that would help; infinite where
        nobody answers. Between the two bounds it stays as it was, as long as the other pool is less behind.
        """
        was_on, self._looked = self.is_on, self._clock()
        bound = self._settings.below_s if was_on else self._settings.above_s
        self._is_on = behind_s > bound and other_s < behind_s and not math.isinf(other_s)
        return self._is_on
