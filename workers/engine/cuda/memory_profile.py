"""How much memory the largest steps need beside weights and pages: measured, by computing them."""

import gc

import torch

from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.step_shape import buckets_for
from pelton.workers.engine.model.loading import LoadedModel

# What the driver keeps of all captured kernels, generously.
_CAPTURED_BYTES = 2**29


def working_bytes(shape: KVCacheSpec, limits: EngineLimits, loaded: LoadedModel) -> int:
    """Bytes that a rehearsal took on a store with no pages, and those that captured steps will keep.

    The model is not compiled yet, which takes the less memory the more it fuses.
    """
    torch.cuda.empty_cache()
    store = kv_cache(shape, 0, limits.page_size, dtype=loaded.dtype, device=loaded.device)
    executor = DeviceExecutor(loaded, store, limits)
    executor.dummy_run()
    torch.cuda.synchronize(loaded.device)
    at_peak, _ = torch.cuda.mem_get_info(loaded.device)
    largest = executor.largest_captured
    del executor
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(loaded.device)
    peak = free - at_peak
    # A captured decode step keeps its logits, so that rows can be sampled from them. Its other memory all captured
    # steps share, but with nobody else: they take what the largest needs, in proportion to the rows rehearsed.
    logits: int = sum(buckets_for(limits.max_running)) * loaded.model.config.vocab_size * loaded.dtype.itemsize
    shared = peak * largest // limits.max_batch_tokens
    return peak + shared + logits + _CAPTURED_BYTES
