"""How long steps take by the number of tokens that they compute, as measured while they run.

On a CPU a step of a few tokens takes little longer than one of a single token, since the weights are read once for all
of them; from some number on it takes longer with each. Where that is depends on processor, model, texts and neighbours,
so it is measured, and measured again when the figures grow old.
"""

from bisect import bisect_left
from collections import deque

_KEPT = 5  # times of each size; their median counts, so that an interrupted step does not
_ENOUGH = 2  # times from which a size is known; the first pays for kernels that are prepared for it
_OLD = 500  # steps after which a size is measured anew
_FIXED = 0.75  # of a step's time that is taken not to grow with its tokens until more is known: trying costs little
_REACH = 4  # times the largest known size: beyond it nothing is foretold


def size_of(tokens: int) -> int:
    """The size that steps of so many tokens are counted with: rounded up to three binary digits."""
    shift = max(0, tokens.bit_length() - 3)
    return -(-tokens // (1 << shift)) << shift


class StepCosts:
    """Takes the seconds of steps in which every token's logits are wanted; foretells those of others."""

    def __init__(self) -> None:
        self._steps = 0
        self._times: dict[int, deque[float]] = {}
        self._seen: dict[int, int] = {}

    def observe(self, tokens: int, seconds: float) -> None:
        size = size_of(tokens)
        self._steps += 1
        if self.age(tokens) > _OLD:
            self._times.pop(size, None)
        self._times.setdefault(size, deque(maxlen=_KEPT)).append(seconds)
        self._seen[size] = self._steps

    def age(self, tokens: int) -> int:
        """Steps since one of this size; more than any bound where there was none."""
        return self._steps - self._seen.get(size_of(tokens), -10 * _OLD)

    def seconds(self, tokens: int) -> float | None:
        """A step's time: measured, or on the line between measured sizes; by one size alone, taken to grow slowly.

        None where too little is known.
        """
        size = size_of(tokens)
        known = sorted(each for each in self._times if self._is_known(each))
        if not known or size > _REACH * known[-1]:
            return None
        place = bisect_left(known, size)
        if place < len(known) and known[place] == size:
            return self._median(size)
        if 0 < place < len(known):
            low, high = known[place - 1], known[place]
            share = (size - low) / (high - low)
            return self._median(low) + share * (self._median(high) - self._median(low))
        if place > 1:
            first, last = known[0], known[-1]
            growth = max(0.0, self._median(last) - self._median(first)) / (last - first)
            return self._median(last) + growth * (size - last)
        nearest = known[-1] if place else known[0]
        return self._median(nearest) * (_FIXED + (1 - _FIXED) * size / nearest)

    def _is_known(self, size: int) -> bool:
        return len(self._times[size]) >= _ENOUGH and self._steps - self._seen[size] <= _OLD

    def _median(self, size: int) -> float:
        times = sorted(self._times[size])
        return times[(len(times) - 1) // 2]
