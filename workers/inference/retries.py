"""Generations that failed for a reason that may pass: they wait outside the line, in nobody's way, and run again."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.settings.worker import WorkerSettings
from pelton.pipeline.wire.contract import Lane
from pelton.workers.engine.api import FailureKind
from pelton.workers.sharing.generation import Generation

SHARE = 0.05
"""Retries get this share of what the others take of the engine, in tokens, while others wait: a stream of requests that
keep failing cannot slow the rest by more."""
IDLE_BURST = 16
"""Retries let into an empty line at once: few enough for a newcomer not to wait long behind them."""
TICK_S = 0.01
RETRYABLE = frozenset({FailureKind.OUT_OF_MEMORY, FailureKind.INTERNAL})

_Waiting = tuple[float, int, QueuedRequest[Generation]]
"""Due time (`time.monotonic`), a serial number, and the generation."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_attempts` counts the first; the wait before the second is `backoff_s` and doubles for each after."""

    max_attempts: int = 3
    backoff_s: float = 0.25

    @classmethod
    def of(cls, settings: WorkerSettings) -> "RetryPolicy":
        return cls(settings.max_attempts, settings.retry_backoff_ms / 1000)

    def allows(self, kind: FailureKind, attempt: int) -> bool:
        """Whether a request whose `attempt`-th attempt failed like this is tried again."""
        return kind in RETRYABLE and attempt < self.max_attempts

    def wait_s(self, attempt: int) -> float:
        """Seconds after the `attempt`-th attempt until the next."""
        return self.backoff_s * 2.0 ** (attempt - 1)


class Retries:
    """What waits to be tried again. Filled from any thread; `run` lets them back into the line, on its loop.

    There is as much room as in the line; beyond it the earliest goes back at once, so that memory stays bounded and
    every request still gets all its attempts.
    """

    def __init__(
        self, line: RequestQueue[Generation], policy: RetryPolicy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.policy = policy
        self._line = line
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._tokens = 0
        self._credit = 0.0
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, place: QueuedRequest[Generation], *, otherwise: bool = False) -> None:
        """Try again after the wait, as the next attempt; `otherwise`: with other tokens."""
        due = self._clock() + self.policy.wait_s(place.item.attempt)
        place.item.try_again(otherwise=otherwise)
        with self._lock:
            self._waiting.append((due, next(self._serial), place))
            self._tokens += place.tokens
        self._loop.call_soon_threadsafe(self._arrived.set)

    def earn(self, tokens: int) -> None:
        """A request of this size has joined the engine for the first time."""
        with self._lock:
            # What is not used up is not saved for ever: a burst of retries is what the share is to prevent.
            self._credit = min(self._credit + SHARE * tokens, SHARE * self._line.max_tokens)

    async def run(self) -> None:
        """Let back into the line what is due, until it closes; what is left then is another worker's to answer.

        Each lane by itself: while the line has no room for one, the other need not wait.
        """
        lanes = [asyncio.create_task(self._run(lane.priority)) for lane in Lane]
        try:
            done, _ = await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            for lane in lanes:
                lane.cancel()

    async def _run(self, priority: int) -> None:
        while True:
            await self._arrived.wait()
            for place in self.take_due(priority):
                if not await self._line.put(replace(place, priority=place.item.priority)):
                    return
            if not self._waiting:
                self._arrived.clear()
                continue
            await asyncio.sleep(TICK_S)

    def take_due(self, priority: int = 0) -> list[QueuedRequest[Generation]]:
        """Remove and return what of a priority may go back into the line now; forget what nobody waits for any more."""
        now = self._clock()
        with self._lock:
            self._drop_unwanted()
            released: list[QueuedRequest[Generation]] = []
            burst = 0 if len(self._line) else IDLE_BURST
            for entry in sorted(each for each in self._waiting if each[2].item.priority == priority):
                due, _, place = entry
                idle = len(released) < burst
                if not self._is_crowded() and not (due <= now and (idle or self._credit > 0)):
                    break
                self._waiting.remove(entry)
                self._tokens -= place.tokens
                self._credit -= 0 if idle else place.tokens  # a large one leaves a debt, else it could never go
                released.append(place)
        return released

    def _is_crowded(self) -> bool:
        return len(self._waiting) > self._line.max_requests or self._tokens > self._line.max_tokens

    def _drop_unwanted(self) -> None:
        wanted = [entry for entry in self._waiting if entry[2].item.wanted]
        if len(wanted) < len(self._waiting):
            self._waiting = wanted
            self._tokens = sum(place.tokens for *_, place in self._waiting)
