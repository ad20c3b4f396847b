"""Feeds targets with inputs: anything but a declared error, or a case that takes long, is a finding."""

import time
from dataclasses import dataclass
from random import Random

from tests.fuzz.targets import Target

SLOW_S = 1.0
"""An input is a few kilobytes at most: what takes so long for one is not linear in it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`refused` ended with an error that the target may raise; `slowest_s` is the longest case."""

    cases: int
    refused: int
    slowest_s: float


class Finding(AssertionError):
    """What was found, with all that is needed to see it again."""


def fuzz(name: str, target: Target, *, cases: int, seed: int) -> Outcome:
    """Raises `Finding`. Case `n` of a seed is the same in every run."""
    refused, slowest_s = 0, 0.0
    for case in range(cases):
        rng = Random(f"{name} {seed} {case}")  # to be repeated
        data = target.input(rng)
        began = time.perf_counter()
        try:
            target.run(rng, data)
        except target.allowed:
            refused += 1
        except Exception as error:
            raise Finding(f"{name}, seed {seed}, case {case}: {error!r} for {data[:2_000]!r}") from error
        taken_s = time.perf_counter() - began
        slowest_s = max(slowest_s, taken_s)
        if taken_s > SLOW_S:
            raise Finding(f"{name}, seed {seed}, case {case}: took {taken_s:.1f} s for {data[:2_000]!r}")
    return Outcome(cases, refused, slowest_s)
