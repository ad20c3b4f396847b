"""Faults on demand: requests that a simulated engine dies of, or fails, so that what follows can be tested."""

import os
import signal
from collections.abc import Sequence

from pelton.workers.engine.simulated.text import decode_tokens


class Faults:
    """Knows such requests by a text in their prompt; an empty text is in none."""

    def __init__(self, poison: str, failing: str) -> None:
        self._poison = poison
        self._failing = failing

    def strike(self, prompt: Sequence[int]) -> bool:
        """Whether the request must fail. Does not return from a poisonous one: SIGKILL, as a fault in a kernel ends."""
        if not self._poison and not self._failing:
            return False
        text = decode_tokens(prompt)
        if self._poison and self._poison in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return bool(self._failing) and self._failing in text
