"""The continuous engine's limits, and how many pages they leave memory for."""

import os

import torch

from pelton.workers.engine.attention.kv_cache import KVCache, KVCacheSpec
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.faults import memory_lasts
from pelton.workers.engine.model.loading import LoadedModel

_GIB = 2**30

# Where nothing is set: of what is free, the model's own working memory and other processes need the rest. On a GPU the
# working memory is measured, and the rest is what an allocator cannot use.
_PART_OF_FREE_MEMORY = {"cpu": 0.25, "cuda": 0.95}


def allocate(shape: KVCacheSpec, limits: EngineLimits, loaded: LoadedModel, ranks: int = 1) -> KVCache:
    """As many pages as `kv_memory_gib` holds; where it is unset, what all running requests could use at most, within a
    part of the free memory.

    `ranks` processes allocate as much, each on its card, or all in this machine's memory.

    Raises ModelLoadError when that is not even one page, or more than there is room for.
    """
    page_bytes = shape.page_bytes(limits.page_size, loaded.dtype)
    if limits.kv_memory_gib is not None:
        pages = int(limits.kv_memory_gib * _GIB // page_bytes)
    else:
        useful = limits.max_running * -(-loaded.context_length // limits.page_size)
        room = _free_bytes(shape, limits, loaded, ranks) * _PART_OF_FREE_MEMORY[loaded.device.type]
        pages = min(useful, int(room // page_bytes))
    if pages < 1:
        raise ModelLoadError(
            f"engine.kv_memory_gib: a KV page of {limits.page_size} tokens takes {page_bytes / _GIB:.3f} GiB, which is "
            "more than there is; raise it, or take a smaller model"
        )
    in_all = ranks * pages * page_bytes
    if loaded.device.type == "cpu" and in_all > (there := _memory_bytes("SC_PHYS_PAGES")):
        # The system would promise it, and end the process once the pages are written to.
        raise ModelLoadError(
            f"engine.kv_memory_gib: {pages} KV pages take {in_all / _GIB:.1f} GiB, and this machine has "
            f"{there / _GIB:.1f} GiB of memory; lower it"
        )
    with memory_lasts(f"lower engine.kv_memory_gib, as {pages} KV pages take {pages * page_bytes / _GIB:.1f} GiB"):
        return kv_cache(shape, pages, limits.page_size, dtype=loaded.dtype, device=loaded.device)


def _memory_bytes(pages: str) -> int:
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _free_bytes(shape: KVCacheSpec, limits: EngineLimits, loaded: LoadedModel, ranks: int) -> int:
    if loaded.device.type == "cpu":
        return _memory_bytes("SC_AVPHYS_PAGES") // ranks
    if ranks > 1:
        raise ModelLoadError(
            "engine.kv_memory_gib: with engine.tensor_parallel set the GiB of each GPU that keys and values may take; "
            "what a step needs is measured for models on one GPU only"
        )
    from pelton.workers.engine.cuda.memory_profile import working_bytes  # noqa: PLC0415 (needs Triton, which is only there)

    with memory_lasts("lower engine.max_batch_tokens or engine.max_running"):
        needed = working_bytes(shape, limits, loaded)
    return torch.cuda.mem_get_info(loaded.device)[0] - needed
