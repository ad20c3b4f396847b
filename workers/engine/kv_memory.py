"""The continuous engine's limits, and how many pages they leave memory for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.engine.faults import Fault
from workers.engine.kv_store import KvShape, KvStore
from workers.engine.loading import LoadedModel
from workers.engine.model_source import ModelLoadError

_GIB = 2**30

# Where nothing is set: of what is free, the model's own working memory and other processes need the rest. On a GPU the
# working memory is measured, and the rest is what an allocator cannot use.
_PART_OF_FREE_MEMORY = {"cpu": 0.25, "cuda": 0.95}


@dataclass(frozen=True, slots=True)
class ContinuousConfig:
    """Limits of the engine; what is None is chosen for the device (`on`).

    `max_batch_tokens` bounds what one step computes, `max_running` the requests that share it, `kv_memory_gib` the
    memory for keys and values. `batch_invariant` makes answers independent of the batch to the last bit, which costs
    most of the speed of prompts. `page_size` is in tokens; only full pages are shared between prompts. `kernel_cache`
    is a folder for what is compiled for a GPU.
    """

    max_batch_tokens: int | None = None
    max_running: int | None = None
    kv_memory_gib: float | None = None
    page_size: int = 64
    prefix_cache: bool = True
    batch_invariant: bool = False
    kernel_cache: Path | None = None

    def on(self, device: torch.device) -> "Limits":
        """A CPU takes long over large steps, in which nobody can be cancelled; a GPU is not filled by small ones."""
        tokens, rows = (8192, 256) if device.type == "cuda" else (512, 64)
        max_batch_tokens = self.max_batch_tokens or tokens
        return Limits(
            max_batch_tokens=max_batch_tokens,
            max_running=self.max_running or min(rows, max_batch_tokens),
            kv_memory_gib=self.kv_memory_gib,
            page_size=self.page_size,
            prefix_cache=self.prefix_cache,
            batch_invariant=self.batch_invariant,
            kernel_cache=self.kernel_cache,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """`ContinuousConfig` with the device's own choices made."""

    max_batch_tokens: int
    max_running: int
    kv_memory_gib: float | None
    page_size: int
    prefix_cache: bool
    batch_invariant: bool
    kernel_cache: Path | None


def allocate(shape: KvShape, limits: Limits, loaded: LoadedModel) -> KvStore:
    """As many pages as `kv_memory_gib` holds; where it is unset, what all running requests could use at most, within a
    part of the free memory.

    Raises ModelLoadError when that is not even one page, or more than there is room for.
    """
    page_bytes = shape.page_bytes(limits.page_size, loaded.dtype)
    if limits.kv_memory_gib is not None:
        pages = int(limits.kv_memory_gib * _GIB // page_bytes)
    else:
        useful = limits.max_running * -(-loaded.context_length // limits.page_size)
        room = _free_bytes(shape, limits, loaded) * _PART_OF_FREE_MEMORY[loaded.device.type]
        pages = min(useful, int(room // page_bytes))
    if pages < 1:
        raise ModelLoadError(
            f"engine.kv_memory_gib: a KV page of {limits.page_size} tokens takes {page_bytes / _GIB:.3f} GiB, which is "
            "more than there is; raise it, or take a smaller model"
        )
    with memory_lasts(f"lower engine.kv_memory_gib, as {pages} KV pages take {pages * page_bytes / _GIB:.1f} GiB"):
        return KvStore(shape, pages, limits.page_size, dtype=loaded.dtype, device=loaded.device)


@contextmanager
def memory_lasts(remedy: str) -> Iterator[None]:
    """Within it, running out of memory is a ModelLoadError that says what to do."""
    try:
        yield
    except Exception as error:
        fault = Fault.of(error)
        if not fault.is_out_of_memory:
            raise
        raise ModelLoadError(f"engine: there is not enough memory; {remedy} ({fault.text})") from error


def _free_bytes(shape: KvShape, limits: Limits, loaded: LoadedModel) -> int:
    if loaded.device.type == "cpu":
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    from workers.engine.cuda.memory import working_bytes  # noqa: PLC0415 (needs Triton, which is only there)

    with memory_lasts("lower engine.max_batch_tokens or engine.max_running"):
        needed = working_bytes(shape, limits, loaded)
    return torch.cuda.mem_get_info(loaded.device)[0] - needed
