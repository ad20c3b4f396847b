"""Since when the engine has been in one step."""

import time
from typing import Self


class StepClock:
    """Knows since when the engine has been in one step. Entered by the inference thread, read by any."""

    def __init__(self) -> None:
        self._entered: float | None = None

    def __enter__(self) -> Self:
        self._entered = time.monotonic()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._entered = None

    @property
    def seconds(self) -> float:
        """How long the step under way has taken; 0 between steps."""
        entered = self._entered
        return 0.0 if entered is None else time.monotonic() - entered
