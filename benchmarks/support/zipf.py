"""Requests as people send them, some prompts often and most hardly ever; and what an ideal cache makes of them."""

import itertools
import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """`prompts[i]` is the number of the prompt of request i, `sizes[p]` the bytes of prompt p's answer."""

    prompts: Sequence[int]
    sizes: Sequence[int]

    def answer(self, prompt: int) -> bytes:
        return b"%d:" % prompt + b"x" * self.sizes[prompt]


def zipf_trace(*, prompts: int = 5_000, requests: int = 50_000, s: float = 1.1, seed: int = 1) -> Trace:
    """The k-th most frequent prompt comes in proportion to 1 / k^s. Answers have 200 to 3,000 bytes."""
    rng = random.Random(seed)
    weights = list(itertools.accumulate(rank**-s for rank in range(1, prompts + 1)))
    return Trace(
        rng.choices(range(prompts), cum_weights=weights, k=requests),
        [rng.randrange(200, 3_000) for _ in range(prompts)],
    )


def ideal_hits(trace: Trace, *, capacity: float, overhead: int, ttl_s: float, interval_s: float) -> int:
    """How many requests an LRU cache with a time to live answers, one request every `interval_s`.

    `capacity` is in bytes, `overhead` what an entry takes beside its answer. Keeps to the definition: an entry past its
    time is none, and the least recently used leave until there is room.
    """
    entries: OrderedDict[int, float] = OrderedDict()
    used = hits = 0
    for moment, prompt in _timed(trace, interval_s):
        end = entries.pop(prompt, None)
        if end is not None:
            used -= trace.sizes[prompt] + overhead
        if end is not None and end > moment:
            hits += 1
        else:
            end = moment + ttl_s
        entries[prompt] = end
        used += trace.sizes[prompt] + overhead
        while used > capacity:
            out, _ = entries.popitem(last=False)
            used -= trace.sizes[out] + overhead
    return hits


def _timed(trace: Trace, interval_s: float) -> Iterator[tuple[float, int]]:
    return ((index * interval_s, prompt) for index, prompt in enumerate(trace.prompts))
