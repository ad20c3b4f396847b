"""Chooses who computes the steps: at once (CPU), or one step ahead of the host (GPU)."""

from collections.abc import Callable
from collections.abc import Sequence as Items

import torch

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.continuous.model_runner import InvariantRunner, PackedRunner, Runner
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.executor import CompletedStep, Executor, StepHandle
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.sampling.sampler import Sampler, SamplingRequest
from pelton.workers.engine.scheduling.scheduler import ScheduledChunk

# What a product on a GPU's matrix units takes at least.
_LEAST_PAGE = 16

ExecutorFactory = Callable[[LoadedModel, KVCache, EngineLimits], Executor]


class HostExecutor:
    """Computes a step while it is launched."""

    steps_ahead = 0

    def __init__(self, runner: Runner, chooser: Sampler) -> None:
        self._runner = runner
        self._chooser = chooser

    def warm_up(self) -> None:
        """Nothing is prepared."""

    @torch.inference_mode()
    def launch(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        masks = self._chooser.begin_masks(asks)
        try:
            logits = self._runner.logits(works)
        finally:
            masks.settle()  # also after an error: whoever tries again finds the grammars at rest
        return CompletedStep(self._chooser.choose(logits, asks, masks) if asks else [])


def executor_for(loaded: LoadedModel, store: KVCache, limits: EngineLimits) -> Executor:
    """The executor of the model's device; answers that are the same in any batch are only made step by step."""
    if loaded.device.type == "cuda" and not limits.batch_invariant:
        if limits.page_size < _LEAST_PAGE or limits.page_size.bit_count() != 1:
            raise ModelLoadError(
                f"engine.page_size: on a GPU a power of two from {_LEAST_PAGE}, not {limits.page_size}"
            )
        from pelton.workers.engine.cuda.executor import DeviceExecutor  # noqa: PLC0415 (needs Triton, which is only there)

        return DeviceExecutor(loaded, store, limits)
    packed = PackedRunner(loaded.model, store)
    runner = InvariantRunner(packed, store) if limits.batch_invariant else packed
    return HostExecutor(runner, Sampler(loaded.device))
