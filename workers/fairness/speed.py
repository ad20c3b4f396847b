"""How fast the waiting line is worked off, measured while something waits in it.

Only then does the speed say what the engine can do: with few requests running it gives each more, and all of them less.
It is counted in the line's own tokens (prompt plus the most that may be generated), so that answers which end early
count as fast. Errors are on the side of too fast: all that ran when a measurement began counts as done in it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pelton.workers.engine.api import Completion, Outcome, Waiting

WINDOW_S = 60.0
"""Over which the speed is a mean. It is too high by what runs at once, which a window much longer hides."""
LEAST_S = 2.0
"""For which something must have waited without a break before there is a speed."""
SAMPLE_S = 0.5
RECENT = 32
"""Answers over which the paces of a single answer are a mean."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What a worker can do: `tokens_per_s` of the line's tokens with all that runs, at most `rows` requests at once; of
    one answer, seconds per prompt token and per new token, and which part of the tokens it may generate it does.
    """

    tokens_per_s: float
    rows: int
    prefill_s: float
    decode_s: float
    used: float

    def own_s(self, prompt_tokens: int, max_new_tokens: int) -> float:
        """Seconds from joining the engine to the last token."""
        return prompt_tokens * self.prefill_s + max_new_tokens * self.used * self.decode_s


@dataclass(slots=True)
class _Mean:
    """Of the last `RECENT` values or so, each the less the older it is."""

    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count = min(self.count + 1, RECENT)
        self.value += (value - self.value) / self.count


@dataclass(frozen=True, slots=True)
class _Sample:
    """At a time: the line's tokens that have joined the engine so far, and the tokens and requests that were in it."""

    at: float
    joined: int
    inside: int
    rows: int


@dataclass(slots=True)
class SpeedMeter:
    """Used on the inference thread; `speed` is for any. `clock` is monotonic."""

    clock: Callable[[], float] = time.monotonic
    speed: Speed | None = None
    """None until it was measured; then the last measurement, also while nothing waits."""
    _joined: int = 0
    _running: dict[int, tuple[Waiting, float]] = field(default_factory=dict)
    """By identity: what is in the engine, and since when."""
    _most_rows: int = 0
    """Since the last sample."""
    _samples: deque[_Sample] = field(default_factory=deque)
    _prefill_s: _Mean = field(default_factory=_Mean)
    _decode_s: _Mean = field(default_factory=_Mean)
    _used: _Mean = field(default_factory=_Mean)

    def joined(self, request: Waiting) -> None:
        """A request joins the engine."""
        self._joined += tokens_of(request)
        self._running[id(request)] = request, self.clock()
        self._most_rows = max(self._most_rows, len(self._running))

    def left(self, request: Waiting, outcome: Outcome | None = None) -> None:
        """It has left the engine, which had not even taken it where there is no outcome."""
        self._running.pop(id(request), None)
        if isinstance(outcome, Completion) and (generated := outcome.generated_tokens):
            each = generated / (1 + len(outcome.others))
            self._prefill_s.add(outcome.prefill_s / request.prompt_tokens)
            self._decode_s.add(outcome.decode_s / each)
            self._used.add(min(1.0, each / request.max_new_tokens))

    def left_s(self, priority: int, speed: Speed) -> list[float]:
        """Of each that runs and gives no row to this priority: seconds to its end, as far as it needs what is usual.

        Any thread.
        """
        now = self.clock()
        return [
            max(0.0, speed.own_s(request.prompt_tokens, request.max_new_tokens) - (now - since))
            for request, since in list(self._running.values())
            if request.priority >= priority
        ]

    def look(self, *, waits: bool) -> None:
        """To be called after each step: whether something waits. A break in that ends the measurement."""
        if not waits:
            self._samples.clear()
            return
        now = self.clock()
        if self._samples and now - self._samples[-1].at < SAMPLE_S:
            return
        inside = sum(tokens_of(request) for request, _ in self._running.values())
        self._samples.append(_Sample(now, self._joined, inside, self._most_rows))
        self._most_rows = len(self._running)
        while now - self._samples[0].at > WINDOW_S:
            self._samples.popleft()
        first = self._samples[0]
        if now - first.at >= LEAST_S and self._used.count:
            tokens = self._joined - first.joined + first.inside
            rows = max(1, *(sample.rows for sample in self._samples))
            paces = self._prefill_s.value, self._decode_s.value, self._used.value
            self.speed = Speed(tokens / (now - first.at), rows, *paces)


def tokens_of(request: Waiting) -> int:
    """In the line."""
    return request.prompt_tokens + request.max_new_tokens
