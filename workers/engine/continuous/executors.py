"""Chooses who computes the steps: at once (CPU), or one step ahead of the host (GPU)."""

import time
from collections.abc import Callable
from collections.abc import Sequence as Items

import torch

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.continuous.mirrored import MirroredRunner
from pelton.workers.engine.continuous.model_runner import InvariantRunner, PackedRunner, Runner
from pelton.workers.engine.continuous.thread_count import ThreadCount
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.executor import CompletedStep, Executor, StepHandle
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.messages import Begin
from pelton.workers.engine.sampling.sampler import Sampler, SamplingRequest
from pelton.workers.engine.scheduling.chunk import ScheduledChunk

# What a product on a GPU's matrix units takes at least.
_LEAST_PAGE = 16

_FP8_CAPABILITY = (8, 9)

ExecutorFactory = Callable[[LoadedModel, KVCache, EngineLimits], Executor]


class HostExecutor:
    """Computes a step while it is launched; with `threads`, by as many threads as others leave to it."""

    steps_ahead = 0

    def __init__(self, runner: Runner, chooser: Sampler, threads: ThreadCount | None) -> None:
        self._runner = runner
        self._chooser = chooser
        self._threads = threads

    def warm_up(self) -> None:
        """Nothing is prepared."""

    @torch.inference_mode()
    def launch(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        if self._threads is None:
            return self._compute(works, asks)
        configured, wanted = torch.get_num_threads(), self._threads.threads
        if wanted != configured:
            torch.set_num_threads(wanted)
        started = time.perf_counter()
        try:
            step = self._compute(works, asks)
        finally:
            if wanted != configured:
                torch.set_num_threads(configured)  # it is the process's, and other engines'
        self._threads.observe(sum(work.rows for work in works), time.perf_counter() - started)
        return step

    def _compute(self, works: Items[ScheduledChunk], asks: Items[SamplingRequest]) -> StepHandle:
        masks = self._chooser.begin_masks(asks)
        try:
            logits = self._runner.logits(works)
        finally:
            masks.settle()  # also after an error: whoever tries again finds the grammars at rest
        return CompletedStep(self._chooser.choose(logits, asks, masks) if asks else [])


def check_device(loaded: LoadedModel, limits: EngineLimits) -> None:
    """Raises ModelLoadError for what no kernel could be run with; a rehearsal would fail for it in other words."""
    if loaded.device.type != "cuda":
        if limits.kv_dtype == "fp8":
            raise ModelLoadError("engine.kv_dtype: fp8 is for a GPU; set int8, which is as small and more exact")
        return
    if limits.kv_dtype == "fp8" and torch.cuda.get_device_capability(loaded.device) < _FP8_CAPABILITY:
        raise ModelLoadError("engine.kv_dtype: this GPU does not convert fp8 (Ada, Hopper and later do); set int8")
    if limits.page_size < _LEAST_PAGE or limits.page_size.bit_count() != 1:
        raise ModelLoadError(f"engine.page_size: on a GPU a power of two from {_LEAST_PAGE}, not {limits.page_size}")
    from pelton.workers.engine.cuda.environment import check_compiler  # noqa: PLC0415 (of no use elsewhere)

    check_compiler()


def parallel_executor(followers: Followers, loaded: LoadedModel, store: KVCache, limits: EngineLimits) -> Executor:
    """Computes each step on all ranks, and chooses the tokens on this one. Raises ModelLoadError."""
    followers.begin(Begin(limits, store.num_pages))
    packed = MirroredRunner(loaded, store, limits, followers)
    runner = InvariantRunner(packed, store) if limits.batch_invariant else packed
    return HostExecutor(runner, Sampler(loaded.device), None)


def executor_for(loaded: LoadedModel, store: KVCache, limits: EngineLimits) -> Executor:
    """The executor of the model's device; answers that are the same in any batch are only made step by step."""
    if loaded.device.type == "cuda" and not limits.batch_invariant:
        from pelton.workers.engine.cuda.executor import DeviceExecutor  # noqa: PLC0415 (needs Triton, which is only there)

        return DeviceExecutor(loaded, store, limits)
    packed = PackedRunner(loaded.model, store)
    if limits.batch_invariant:  # another number of threads may add in another order
        return HostExecutor(InvariantRunner(packed, store), Sampler(loaded.device), None)
    threads = ThreadCount(torch.get_num_threads()) if loaded.device.type == "cpu" else None
    return HostExecutor(packed, Sampler(loaded.device), threads)
