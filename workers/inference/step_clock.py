"""How long the engine has been in one step, and how much time all its steps took."""

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Sums over steps: `wall_s` is seconds that passed, `cpu_s` those in which the inference thread had a core."""

    steps: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def since(self, earlier: "StepTimes") -> "StepTimes":
        """What came after `earlier`."""
        return StepTimes(self.steps - earlier.steps, self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s)


class StepClock:
    """Knows since when the engine has been in one step. Entered by the inference thread, read by any."""

    def __init__(self) -> None:
        self._entered: float | None = None
        self._cpu_entered = 0.0
        self.times = StepTimes()
        """Of all finished steps."""

    def __enter__(self) -> Self:
        self._cpu_entered = time.thread_time()
        self._entered = time.monotonic()
        return self

    def __exit__(self, *_exception: object) -> None:
        before, entered = self.times, self._entered
        if entered is not None:
            wall_s, cpu_s = time.monotonic() - entered, time.thread_time() - self._cpu_entered
            self.times = StepTimes(before.steps + 1, before.wall_s + wall_s, before.cpu_s + cpu_s)
        self._entered = None

    @property
    def seconds(self) -> float:
        """How long the step under way has taken; 0 between steps."""
        entered = self._entered
        return 0.0 if entered is None else time.monotonic() - entered
