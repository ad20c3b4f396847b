"""How many threads compute the steps on a CPU that others may use too. Pure: is given times, and knows no clock.

Where a neighbour takes a core, the threads of a step wait for the one that lost it, at each of some hundred products;
one thread alone waits for nobody. Which is faster cannot be known, only tried: when steps take much longer than equal
ones did, a few of them run with one thread, every other step, and the faster count is kept. With one thread the same is
tried again at times, so that all cores are used once they are free. While steps are as fast as ever nothing is tried.
"""

import logging
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

SLOW = 1.8
"""From here on other counts are tried: times the fastest that steps of this size have been."""
_MUCH_SLOWER = 2.5  # is logged
_MOST = 3.0
"""A step counts for no more than this. One that took far longer was stopped with its program or its machine, which says
nothing of threads."""
_SMOOTHING = 0.1
_FORGETS = 1.0005  # each step, so that an unlikely fast one is no measure for ever
_BETTER = 0.9  # a count must be faster by a tenth to be changed to
_PAIRS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LOG_WAIT_S = 1.0, 30.0, 60.0


@dataclass(slots=True)
class _Trial:
    """Steps with one thread and with all, in turn; the first two only fill caches."""

    steps: int = 0
    per_row: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    @property
    def single(self) -> bool:
        return self.steps % 2 == 0

    def add(self, seconds_per_row: float) -> bool:
        """Whether that was the last step."""
        if self.steps > 1:
            self.per_row[self.single].append(seconds_per_row)
        self.steps += 1
        return self.steps == 2 * (_PAIRS + 1)

    @property
    def speed_up(self) -> float:
        """How many times faster one thread was: of the medians, since a single step may be interrupted."""
        one, all_of_them = (sorted(self.per_row[single])[_PAIRS // 2] for single in (True, False))
        return all_of_them / one


class ThreadCount:
    """`threads` says how many are to compute the next step; `observe` takes what it took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._single = False
        self._trial: _Trial | None = None
        self._fastest: dict[tuple[bool, int], float] = {}
        self._slowness = 1.0
        self._wait_s = _FIRST_WAIT_S
        self._since_trial_s = 0.0
        self._since_log_s = _LOG_WAIT_S

    @property
    def threads(self) -> int:
        single = self._trial.single if self._trial else self._single
        return 1 if single else self._most

    def observe(self, rows: int, seconds: float) -> None:
        """Take the time of a step with `threads` threads, which has computed so many rows."""
        if self._most == 1:
            return
        self._since_trial_s += seconds
        self._since_log_s += seconds
        if self._trial is None:
            self._compare(rows, seconds)
            due = self._since_trial_s >= self._wait_s
            if due and (self._single or self._slowness >= SLOW):
                self._trial = _Trial()
        elif self._trial.add(seconds / rows):
            self._decide(self._trial)

    def _compare(self, rows: int, seconds: float) -> None:
        size = (self._single, rows.bit_length())
        fastest = min(self._fastest.get(size, seconds) * _FORGETS, seconds)
        self._fastest[size] = fastest
        self._slowness += _SMOOTHING * (min(seconds / fastest, _MOST) - self._slowness)
        if self._slowness >= _MUCH_SLOWER and self._since_log_s >= _LOG_WAIT_S:
            self._since_log_s = 0.0
            log.warning(
                "Steps take at least %.1f times as long as equal ones did at their fastest; other programs seem to use "
                "the processors (steps of %d rows: %.0f ms with %d threads).",
                self._slowness, rows, seconds * 1000, self.threads,
            )  # fmt: skip

    def _decide(self, trial: _Trial) -> None:
        self._trial = None
        self._since_trial_s = 0.0
        speed_up = trial.speed_up
        changes = speed_up * _BETTER > 1 if not self._single else speed_up < _BETTER
        self._wait_s = _FIRST_WAIT_S if changes else min(2 * self._wait_s, _LONGEST_WAIT_S)
        if changes:
            self._single = not self._single
            self._slowness = 1.0
            log.info(
                "Steps are computed with %d of %d threads from now on; one thread was %.2f times as fast as all.",
                self.threads, self._most, speed_up,
            )  # fmt: skip
