"""Attention of single queries over pages by the C kernels: the decode half of a step in one call for each layer.

Texts are read in parts, so that the threads share long ones, and a part that several rows have in common is read once
for all of them (`decode_parts.py`).
"""

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.decode_parts import Texts, cut
from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.native.kernels import HEAD_MULTIPLE, DecodePlan, Kernels, kernels_for


class NativeAttention:
    """The decode rows of one step; made once, used by every layer. Without `sharing` every row reads by itself."""

    def __init__(self, batch: PackedBatch, store: KVCache, kernels: Kernels, *, sharing: bool = True) -> None:
        self._kernels = kernels
        self._store = store
        self._sharing = sharing
        self._pages = [span.pages for span in batch.decodes]
        self._ends = np.array([span.end for span in batch.decodes])
        rows = len(batch.decodes)
        self._places = store.places(batch.write_pages[:rows], batch.write_slots[:rows])
        self._plans: dict[int | None, tuple[DecodePlan, Tensor]] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape; keys and values [rows, kv_heads, head_dim] are stored."""
        store = self._store
        store.write(layer, keys, values, self._places)
        if scoring.window not in self._plans:
            self._plans[scoring.window] = self._plan(scoring.window, *queries.shape[1:])
        plan, given = self._plans[scoring.window]
        stored = store.keys[layer], store.values[layer]
        return self._kernels.decode(
            plan, stored, store.absmax(layer), queries, scoring.scale, scoring.softcap or 0.0, given
        )

    def _plan(self, window: int | None, heads: int, dim: int) -> tuple[DecodePlan, Tensor]:
        """What is read through a window, and room for what that gives."""
        store = self._store
        begins = np.zeros_like(self._ends) if window is None else np.maximum(0, self._ends - window)
        texts = Texts(self._pages, begins, self._ends, store.page_size)
        parts = cut(texts, heads // store.kv_heads, sharing=self._sharing)
        plan = DecodePlan(len(self._pages), (heads, store.kv_heads, dim, store.page_size), parts.arrays)
        return plan, torch.empty(len(parts.readers) * heads * (dim + 2))


def native_attention(batch: PackedBatch, store: KVCache, *, sharing: bool) -> NativeAttention | None:
    """None where there are no kernels for what is stored, or for heads of that size."""
    kernels = kernels_for(store.dtype, store.device)
    if kernels is None or store.quantised not in {None, torch.int8} or store.keys[0].shape[-1] % HEAD_MULTIPLE:
        return None
    return NativeAttention(batch, store, kernels, sharing=sharing)
