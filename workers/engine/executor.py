"""Who computes the steps: synchronously (CPU), or one step ahead of the host (GPU).

An executor is given a step's work and returns a handle, from which the tokens are collected. With `steps_ahead` 0 the
engine waits for each step before it plans the next. With 1 it launches the next step first, so that the device always
has something to do, and reads the tokens of a step while the next one is computed:

    host     plan 1, launch 1 │ plan 2, launch 2 │ land 1 │ plan 3, launch 3 │ land 2 │ ...
    device                    │ step 1 ──────────┼────────┤ step 2 ─────────┼────────┤ step 3 ...

What follows from that, and who sees to it:

- Step 2 is planned before the tokens of step 1 are known. Every sequence that gets one is taken to go on: its place is
  reserved (`SequenceState.reserve`), step 2 takes the token from the device's memory, and landing fills it in
  (`settle`).
- An answer that ends in step 1 (end token, stop string, cancel, deadline) may have a token computed in step 2. Nobody
  takes it (`ContinuousEngine._land`): not the answer, not its usage, not the prefix cache. An answer that ends by its
  length is known to, and has none.
- Its pages are free as soon as the host knows, though step 2 still writes to them. Whoever gets them writes in step 3
  or later, and the device computes steps in their order. The same holds for pages wiped or lost to a preemption.
- The prefix cache finds only pages whose tokens are known, since their digest is made of them (`Scheduler.complete`
  comes at landing).
- A sequence that loses its pages while a token is on its way is not planned in the same step again, and by the next one
  that token has landed: the host can hand in the whole text. One whose choice goes by the text (penalties) is planned
  when its text is known, every other step (`SequenceState.ready`).
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

from pelton.workers.engine.sampling.sampler import SampledToken, SamplingRequest
from pelton.workers.engine.scheduling.chunk import ScheduledChunk


class StepHandle(Protocol):
    """A step that was launched."""

    def choices(self) -> list[SampledToken]:
        """A choice for each of the asks, in their order; waits for the device."""


class Executor(Protocol):
    """Computes steps in the order in which they are launched."""

    @property
    def steps_ahead(self) -> int:
        """How many steps may be launched before the first of them has landed, less one."""

    def warm_up(self) -> None:
        """Do once what would make the first steps slow."""

    def launch(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        """Compute `works`; `asks` are for the tokens that they want, in their order.

        Works have drafts only where no step is launched ahead (`Speculator`).
        """


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """A flight that needs no waiting."""

    _choices: list[SampledToken]

    def choices(self) -> list[SampledToken]:
        return self._choices
