"""How much waits, and how long it will take: what one scales by.

The lag of a consumer group misleads: it counts records, whatever they cost, and one straggler holds the committed
offset back while all behind it is answered. Here a request counts until it is answered, wherever it waits, and the
time follows from the speed that was measured while there was something to do.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
"""Of busy time, over which the speed is a mean."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Requests that wait or run, and the tokens and seconds that they take; NaN where nothing was answered yet."""

    requests: int
    tokens: float
    tokens_per_second: float
    seconds: float


@dataclass(slots=True)
class _Stretch:
    seconds: float
    requests: int
    tokens: int


class BacklogMeter:
    """Fed with what is answered, asked in intervals. Lives on the event loop; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._busy = False
        self._stretches: deque[_Stretch] = deque()
        self._now = _Stretch(0.0, 0, 0)
        self._latest = Backlog(0, 0.0, 0.0, 0.0)
        self._given_up = 0

    @property
    def seconds(self) -> float:
        """How long the backlog takes: as of the last look, less what was given up since; NaN while that is unknown."""
        latest = self._latest
        left = max(0, latest.requests - self._given_up)
        return latest.seconds * left / latest.requests if latest.requests else latest.seconds

    def give_up(self) -> None:
        """One of those that waited at the last look is refused. Many may be, before the next."""
        self._given_up += 1

    def answered(self, tokens: int, requests: int = 1) -> None:
        """So many more; `tokens` of prompts and answers were computed for them, 0 where the cache had them."""
        self._now.requests += requests
        self._now.tokens += tokens

    def look(self, waiting: int) -> Backlog:
        """The backlog of `waiting` unanswered requests, by the speed since there was one."""
        self._given_up = 0
        self._latest = self._look(waiting)
        return self._latest

    def _look(self, waiting: int) -> Backlog:
        now = self._clock()
        self._now.seconds = now - self._began
        if self._busy or self._now.requests:
            self._stretches.append(self._now)
        self._now, self._began, self._busy = _Stretch(0.0, 0, 0), now, waiting > 0
        seconds = sum(stretch.seconds for stretch in self._stretches)
        while len(self._stretches) > 1 and seconds - self._stretches[0].seconds >= WINDOW_S:
            seconds -= self._stretches.popleft().seconds
        requests = sum(stretch.requests for stretch in self._stretches)
        tokens = sum(stretch.tokens for stretch in self._stretches)
        if not requests or not seconds:
            unknown = math.nan if waiting else 0.0
            return Backlog(waiting, unknown, 0.0, unknown)
        return Backlog(waiting, waiting * tokens / requests, tokens / seconds, waiting * seconds / requests)
