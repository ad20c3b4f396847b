"""How much memory the largest steps need beside weights and pages: measured, by computing them."""

import gc

import torch

from workers.engine.cuda.executor import DeviceExecutor
from workers.engine.kv_memory import Limits
from workers.engine.kv_store import KvShape, KvStore
from workers.engine.loading import LoadedModel


def working_bytes(shape: KvShape, limits: Limits, loaded: LoadedModel) -> int:
    """Bytes that were taken for a rehearsal on a store with no pages, and can be had again.

    The model is not compiled yet, which takes the less memory the more it fuses.
    """
    torch.cuda.empty_cache()
    store = KvStore(shape, 0, limits.page_size, dtype=loaded.dtype, device=loaded.device)
    DeviceExecutor(loaded, store, limits).rehearse()
    torch.cuda.synchronize(loaded.device)
    at_peak, _ = torch.cuda.mem_get_info(loaded.device)
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(loaded.device)
    return free - at_peak
