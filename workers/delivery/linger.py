"""How long results wait for others to be published with."""

import time
from dataclasses import dataclass

from pelton.pipeline.request_queue import RequestQueue
from pelton.workers.engine.api import StepEngine
from pelton.workers.sharing.generation import Computed, Finished, Generation

MAX_INTERVALS = 80
"""Flush intervals that an answer may wait at most."""
WAIT_SHARE = 1 / 8
"""The part of the longest wait for the engine that an answer may wait longer: hardly noticed by those who waited, and
fewer commits disturb an engine on the same cores less. It is the wait of the answer itself or of who still waits."""


@dataclass(frozen=True, slots=True)
class LingerPolicy:
    """How long a result may wait for others to be published with, in seconds.

    Answers wait longer only while the engine has something to do that commits would disturb.
    """

    line: RequestQueue[Generation]
    engine: StepEngine
    flush_interval_s: float

    def __call__(self, finished: Finished) -> float:
        if not (isinstance(finished, Computed) and self.engine.running):
            return self.flush_interval_s
        share = WAIT_SHARE * max(finished.result.batch_wait_s, self.line.longest_wait(time.monotonic()))
        return max(self.flush_interval_s, min(share, MAX_INTERVALS * self.flush_interval_s))
