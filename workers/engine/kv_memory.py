"""The continuous engine's limits, and how many pages they leave memory for."""

import os
from dataclasses import dataclass

import torch

from workers.engine.kv_store import KvShape
from workers.engine.loading import LoadedModel
from workers.engine.model_source import ModelLoadError

_GIB = 2**30

# Where nothing is set: of what is free, the model's own working memory and other processes need the rest.
_PART_OF_FREE_MEMORY = {"cpu": 0.25, "cuda": 0.8}


@dataclass(frozen=True, slots=True)
class ContinuousConfig:
    """Limits of the engine; what is None is chosen for the device (`on`).

    `max_batch_tokens` bounds what one step computes, `max_running` the requests that share it, `kv_memory_gib` the
    memory for keys and values. `batch_invariant` makes answers independent of the batch to the last bit, which costs
    most of the speed of prompts. `page_size` is in tokens; only full pages are shared between prompts.
    """

    max_batch_tokens: int | None = None
    max_running: int | None = None
    kv_memory_gib: float | None = None
    page_size: int = 64
    prefix_cache: bool = True
    batch_invariant: bool = False

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


def pages_in_memory(shape: KvShape, limits: Limits, loaded: LoadedModel) -> int:
    """As many pages as `kv_memory_gib` holds; where it is unset, what all running requests could use at most, within a
    part of the free memory.

    Raises ModelLoadError when that is not even one page.
    """
    page_bytes = shape.page_bytes(limits.page_size, loaded.dtype)
    if limits.kv_memory_gib is not None:
        pages = int(limits.kv_memory_gib * _GIB // page_bytes)
    else:
        useful = limits.max_running * -(-loaded.context_length // limits.page_size)
        pages = min(useful, int(_free_bytes(loaded.device) * _PART_OF_FREE_MEMORY[loaded.device.type] // page_bytes))
    if pages < 1:
        raise ModelLoadError(
            f"engine.kv_memory_gib: a KV page of {limits.page_size} tokens takes {page_bytes / _GIB:.3f} GiB, which is "
            "more than there is; raise it, or take a smaller model"
        )
    return pages


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
