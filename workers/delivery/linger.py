"""How long results wait for others to be published with."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pelton.pipeline.request_queue import RequestQueue
from pelton.workers.engine.api import StepEngine
from pelton.workers.engine.scheduling.arrivals import ArrivalRate
from pelton.workers.sharing.generation import Computed, Finished, Generation

MAX_INTERVALS = 80
"""Flush intervals that an answer may wait at most."""
WAIT_SHARE = 1 / 8
"""The part of the longest wait for the engine that an answer may wait longer: hardly noticed by those who waited, and
fewer commits disturb an engine on the same cores less. It is the wait of the answer itself or of who still waits."""


@dataclass(frozen=True, slots=True)
class LingerPolicy:
    """How long a result may wait for others to be published with, in seconds. To be called once for each, any thread.

    While so few come that each can have a commit of its own within the flush interval, none waits; as more come, the
    wait grows up to that interval. Answers wait longer only while the engine has something to do that commits would
    disturb, and requests wait for it.
    """

    line: RequestQueue[Generation]
    engine: StepEngine
    flush_interval_s: float
    clock: Callable[[], float] = time.monotonic
    _results: ArrivalRate = field(default_factory=ArrivalRate)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, finished: Finished) -> float:
        now = self.clock()
        with self._lock:
            self._results.arrived(now)
            window_s = self._results.window_s(self.flush_interval_s, now)
        if not (isinstance(finished, Computed) and self.engine.running):
            return window_s
        share = WAIT_SHARE * max(finished.result.batch_wait_s, self.line.longest_wait(now))
        return max(window_s, min(share, MAX_INTERVALS * self.flush_interval_s))
