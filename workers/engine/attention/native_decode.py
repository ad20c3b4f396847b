"""Attention of single queries over pages by the C kernels: the decode half of a step in one call for each layer.

A row's text is attended to in parts, so that the threads share long ones. Each row reads its pages for itself; where
many rows look at the same pages, the products of `decode.py` are faster.
"""

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import Ints, PackedBatch
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.native.kernels import HEAD_MULTIPLE, DecodePlan, Kernels, kernels_for

_PART = 256  # tokens
# Products of shared pages have a start that is worth so many tokens, and take that much longer for a row's own.
_START, _OWN_COST = 16_384, 2


class NativeAttention:
    """The decode rows of one step; made once, used by every layer."""

    def __init__(self, batch: PackedBatch, store: KVCache, kernels: Kernels) -> None:
        self._kernels = kernels
        self._store = store
        self._spans = batch.decodes
        rows = len(batch.decodes)
        self._places = store.places(batch.write_pages[:rows], batch.write_slots[:rows])
        self._pages = np.concatenate([span.pages for span in batch.decodes])
        self._first_pages = _starts([len(span.pages) for span in batch.decodes])
        self._plans: dict[int | None, DecodePlan] = {}
        self._parts: Tensor | None = None

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape; keys and values [rows, kv_heads, head_dim] are stored."""
        store = self._store
        store.write(layer, keys, values, self._places)
        _, heads, dim = queries.shape
        if scoring.window not in self._plans:
            self._plans[scoring.window] = self._plan(scoring.window, heads, dim)
        plan = self._plans[scoring.window]
        size = plan.parts * heads * (dim + 2)
        if self._parts is None or len(self._parts) < size:
            self._parts = torch.empty(size)
        stored = store.keys[layer], store.values[layer]
        return self._kernels.decode(
            plan, stored, store.absmax(layer), queries, scoring.scale, scoring.softcap or 0.0, self._parts
        )

    def _plan(self, window: int | None, heads: int, dim: int) -> DecodePlan:
        ends = np.array([span.end for span in self._spans])
        begins = np.zeros_like(ends) if window is None else np.maximum(0, ends - window)
        counts = -(-(ends - begins) // _PART)
        first_parts = _starts(counts)
        rows = np.repeat(np.arange(len(ends)), counts)
        part_begins = begins[rows] + (np.arange(len(rows)) - first_parts[rows]) * _PART
        part_ends = np.minimum(part_begins + _PART, ends[rows])
        sizes = heads, self._store.kv_heads, dim, self._store.page_size
        return DecodePlan.of(sizes, (rows, part_begins, part_ends, first_parts, self._pages, self._first_pages))


def native_attention(batch: PackedBatch, store: KVCache, *, sharing: bool) -> NativeAttention | None:
    """For a step that it is the fastest for, with `sharing` where pages may be read for several rows at once.

    None where there are no kernels for what is stored, or for heads of that size.
    """
    kernels = kernels_for(store.dtype, store.device)
    if kernels is None or store.quantised not in {None, torch.int8} or store.keys[0].shape[-1] % HEAD_MULTIPLE:
        return None
    if sharing and _is_much_shared(np.concatenate([span.pages for span in batch.decodes]), store.page_size):
        return None
    return NativeAttention(batch, store, kernels)


def _is_much_shared(pages: Ints, page_size: int) -> bool:
    """Whether so many rows look at the same pages that these should be read together; `pages` once for each look."""
    looks = np.bincount(pages)
    shared, own = looks[looks > 1].sum() * page_size, (looks == 1).sum() * page_size
    return bool(shared > _START + _OWN_COST * own)


def _starts(counts: Ints | list[int]) -> Ints:
    """Where each of some that follow each other begins, and where the last ends."""
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
