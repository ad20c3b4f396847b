"""Attention of single queries over pages, in plain PyTorch: the decode half of a step.

Each page is multiplied with the query it belongs to, all pages in one batched matrix product with the query heads of a
KV head as rows. So no product is padded to the longest sequence, and pages that many sequences share are read once for
all of them. Scores, which are small, are brought together per query head (`page_scores.py`).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import Ints, PackedBatch
from pelton.workers.engine.attention.page_products import PageProducts, PageReaders
from pelton.workers.engine.attention.page_scores import ScoreTable
from pelton.workers.engine.attention.params import AttentionParams

# Shared pages are multiplied with all queries that share any, unless less than this part of the pairs is wanted.
_LEAST_DENSITY = 0.25


class PageAttention:
    """The decode rows of one step; made once, used by every layer.

    Without `sharing` every row attends by itself over its own copies of pages.
    """

    def __init__(self, batch: PackedBatch, store: KVCache, *, sharing: bool = True) -> None:
        spans = batch.decodes
        self._store = store
        self._spans = spans
        self._sharing = sharing
        self._rows = len(spans)
        self._places = store.places(batch.write_pages[: self._rows], batch.write_slots[: self._rows])
        # The row past the last sees nothing: position -1 is before every key.
        self._positions = self._tensor(np.array([*(span.start for span in spans), -1]))
        self._views: dict[int | None, tuple[ScoreTable, list[PageProducts]]] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape; keys and values [rows, kv_heads, head_dim] are stored."""
        self._store.write(layer, torch.cat((keys, values)), self._places)
        if scoring.window not in self._views:
            self._views[scoring.window] = self._view(scoring.window, queries.shape[1])
        lines, parts = self._views[scoring.window]
        for pairs in parts:
            lines.put(pairs.scores(queries, self._store, layer, scoring), pairs.lines)
        weights = lines.weights()
        first, *more = (pairs.mixed(weights, self._store, layer) for pairs in parts)
        return sum(more, start=first).to(queries.dtype)

    def _view(self, window: int | None, heads: int) -> tuple[ScoreTable, list[PageProducts]]:
        """What the rows see through a window: their lines, and the pages that one has to itself and the shared ones."""
        size = self._store.page_size
        begins = np.array([0 if window is None else max(0, span.end - window) // size for span in self._spans])
        ends = np.array([len(span.pages) for span in self._spans])
        lines = ScoreTable(begins, ends, heads, size)
        pages = np.concatenate([span.pages[begin:] for begin, span in zip(begins, self._spans, strict=True)])
        query_rows = np.repeat(np.arange(self._rows), ends - begins)
        places = np.concatenate([np.arange(*each) for each in zip(begins, ends, strict=True)])
        parts = []
        for seen, rows, at in self._parts(pages, query_rows, places):
            who = self._tensor(rows)
            visible = self._visible(who, self._tensor(at * size), window)
            looks = PageReaders(self._rows, self._tensor(seen), who, visible, self._tensor(lines.of(rows, at)))
            parts.append(PageProducts.of(looks, self._store))
        return lines, parts

    def _parts(self, pages: Ints, query_rows: Ints, places: Ints) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Pages that are looked at, their lookers, [pages, 1] or more, and which page of their texts they are."""
        shared = np.bincount(pages)[pages] > (1 if self._sharing else len(pages))
        own = ~shared
        if own.any():
            yield pages[own], query_rows[own, None], places[own]
        if shared.any():
            yield self._crossed(pages[shared], query_rows[shared], places[shared])

    def _crossed(self, pages: Ints, query_rows: Ints, places: Ints) -> tuple[Ints, Ints, Ints]:
        """Each page once, with all rows that share any; or as they came, if most of these pairs were in vain."""
        distinct, which = np.unique(pages, return_inverse=True)
        sharers, who = np.unique(query_rows, return_inverse=True)
        if len(pages) < _LEAST_DENSITY * len(distinct) * len(sharers):
            return pages, query_rows[:, None], places
        table = np.full((len(distinct), len(sharers)), self._rows)
        table[which, who] = query_rows
        distinct_places = np.zeros(len(distinct), dtype=np.int64)
        distinct_places[which] = places
        return distinct, table, distinct_places

    def _visible(self, rows: Tensor, first: Tensor, window: int | None) -> Tensor:
        """What rows [pages, n] see of pages that begin with the `first` token [pages], bool [pages, n, page_size]."""
        slots = first[:, None, None] + torch.arange(self._store.page_size, device=self._store.device)
        query = self._positions[rows][:, :, None]
        visible = slots <= query
        if window is not None:
            visible &= slots > query - window
        return visible

    def _tensor(self, array: Ints) -> Tensor:
        return torch.from_numpy(array).to(self._store.device)
