"""How much memory the largest steps need beside weights and pages: measured, by computing them."""

import gc

import torch

from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.graphs import buckets_for
from pelton.workers.engine.model.loading import LoadedModel

# What the driver keeps of all captured kernels, generously.
_CAPTURED_BYTES = 2**29


def working_bytes(shape: KVCacheSpec, limits: EngineLimits, loaded: LoadedModel) -> int:
    """Bytes that a rehearsal took on a store with no pages, and those that captured steps will keep.

    The model is not compiled yet, which takes the less memory the more it fuses.
    """
    torch.cuda.empty_cache()
    store = kv_cache(shape, 0, limits.page_size, dtype=loaded.dtype, device=loaded.device)
    DeviceExecutor(loaded, store, limits).dummy_run()
    torch.cuda.synchronize(loaded.device)
    at_peak, _ = torch.cuda.mem_get_info(loaded.device)
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(loaded.device)
    # A captured step keeps its logits, so that rows can be sampled from them; its other memory it shares with the rest.
    logits: int = sum(buckets_for(limits.max_running)) * loaded.model.config.vocab_size * loaded.dtype.itemsize
    return free - at_peak + logits + _CAPTURED_BYTES
