"""Who computes the steps: at once, as on a CPU, or behind the host's back, as on a GPU.

An executor is handed a step's work and gives a flight, from which the tokens are taken when it lands. With a `lateness`
of 0 the engine waits for each flight before it plans the next step. With 1 it launches the next step first, so that the
device always has something to do, and looks at the tokens of a step while the one behind it is computed:

    host     plan 1, launch 1 │ plan 2, launch 2 │ land 1 │ plan 3, launch 3 │ land 2 │ ...
    device                    │ step 1 ──────────┼────────┤ step 2 ─────────┼────────┤ step 3 ...

What follows from that, and who sees to it:

- Step 2 is planned before the tokens of step 1 are known. Every sequence that gets one is taken to go on: its place is
  reserved (`Sequence.reserve`), step 2 takes the token from the device's memory, and landing fills it in (`settle`).
- An answer that ends in step 1 (end token, stop string, cancel, deadline) may have a token computed in step 2. Nobody
  takes it (`ContinuousEngine._land`): not the answer, not its usage, not the prefix cache. An answer that ends by its
  length is known to, and has none.
- Its pages are free as soon as the host knows, though step 2 still writes to them. Whoever gets them writes in step 3
  or later, and the device computes steps in their order. The same holds for pages wiped or lost to a preemption.
- The prefix cache finds only pages whose tokens are known, since their digest is made of them (`Scheduler.complete`
  comes at landing).
- A sequence that loses its pages while a token is on its way is not planned in the same step again, and by the next one
  that token has landed: the host can hand in the whole text. One whose choice goes by the text (penalties) is planned
  when its text is known, every other step (`Sequence.ready`).
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import torch

from workers.engine.chooser import Ask, Choice, Chooser
from workers.engine.kv_memory import Limits
from workers.engine.kv_store import KvStore
from workers.engine.loading import LoadedModel
from workers.engine.model_source import ModelLoadError
from workers.engine.runner import InvariantRunner, PackedRunner, Runner
from workers.engine.scheduler import Work


class Flight(Protocol):
    """A step that was launched."""

    def choices(self) -> list[Choice]:
        """A choice for each of the asks, in their order; waits for the device."""


class Executor(Protocol):
    """Computes steps in the order in which they are launched."""

    @property
    def lateness(self) -> int:
        """How many steps may be launched before the first of them has landed, less one."""

    def warm_up(self) -> None:
        """Do once what would make the first steps slow."""

    def launch(self, works: Items[Work], asks: Items[Ask]) -> Flight:
        """Compute `works`; `asks` are for those of them that complete, in their order."""


# What a product on a GPU's matrix units takes at least.
_LEAST_PAGE = 16

ExecutorFactory = Callable[[LoadedModel, KvStore, Limits], Executor]


@dataclass(frozen=True, slots=True)
class Landed:
    """A flight that needs no waiting."""

    _choices: list[Choice]

    def choices(self) -> list[Choice]:
        return self._choices


class HostExecutor:
    """Computes a step while it is launched."""

    lateness = 0

    def __init__(self, runner: Runner, chooser: Chooser) -> None:
        self._runner = runner
        self._chooser = chooser

    def warm_up(self) -> None:
        """Nothing is prepared."""

    @torch.inference_mode()
    def launch(self, works: Items[Work], asks: Items[Ask]) -> Flight:
        logits = self._runner.logits(works)
        return Landed(self._chooser.choose(logits, asks) if asks else [])


def executor_for(loaded: LoadedModel, store: KvStore, limits: Limits) -> Executor:
    """The executor of the model's device; answers that are the same in any batch are only made step by step."""
    if loaded.device.type == "cuda" and not limits.batch_invariant:
        if limits.page_size < _LEAST_PAGE or limits.page_size.bit_count() != 1:
            raise ModelLoadError(
                f"engine.page_size: on a GPU a power of two from {_LEAST_PAGE}, not {limits.page_size}"
            )
        from workers.engine.cuda.executor import DeviceExecutor  # noqa: PLC0415 (needs Triton, which is only there)

        return DeviceExecutor(loaded, store, limits)
    packed = PackedRunner(loaded.model, store)
    runner = InvariantRunner(packed, store) if limits.batch_invariant else packed
    return HostExecutor(runner, Chooser(loaded.device))
