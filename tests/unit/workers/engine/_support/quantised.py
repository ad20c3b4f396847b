"""Pages of one byte a number, and the numbers that are read from them."""

from dataclasses import replace

import torch

from pelton.workers.engine.attention.kv_cache import KVCacheSpec
from pelton.workers.engine.attention.quantised_kv import QuantisedKVCache
from tests.unit.workers.engine._support.kernels import Paged

KINDS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
LARGEST_ERROR = {torch.int8: 0.5001 / 127, torch.float8_e4m3fn: 16.001 / 448}
"""Of a number, as a part of the largest in its vector: half a level, or half of the distance of the largest levels."""


def quantised(paged: Paged, kind: torch.dtype) -> tuple[Paged, QuantisedKVCache]:
    """A store with what `paged` has, and `paged` with what is read from the store."""
    pages, kv_heads, size, dim = paged.keys.shape
    store = QuantisedKVCache(
        KVCacheSpec(1, kv_heads, dim, kind), pages, size, dtype=paged.keys.dtype, device=paged.keys.device
    )
    every = torch.arange(pages, device=paged.keys.device)
    for page in range(pages):
        places = store.places(every[page].repeat(size), torch.arange(size, device=every.device))
        store.write(0, paged.keys[page].transpose(0, 1), paged.values[page].transpose(0, 1), places)
    keys, values = store.gather(0, store.both(every)).clone().chunk(2)
    return replace(paged, keys=keys, values=values), store
