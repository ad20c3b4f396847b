"""Attention of single queries over pages, in plain PyTorch: the decode half of a step.

A page of one row is multiplied with its query, all such pages in one batched matrix product with the query heads of a
KV head as rows: so no product is padded to the longest sequence. Pages that the same several rows look at are read once
for all of them, as one matrix (`page_groups.py`). Scores, which are small, are brought together per query head
(`page_scores.py`).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import Ints, PackedBatch
from pelton.workers.engine.attention.page_groups import PageGrid, batched, grouped
from pelton.workers.engine.attention.page_products import (
    GridReaders,
    OwnPages,
    PageProducts,
    PageReaders,
    SharedPages,
)
from pelton.workers.engine.attention.page_scores import ScoreTable
from pelton.workers.engine.attention.params import AttentionParams


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
        self._store.write(layer, keys, values, self._places)
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
        return lines, list(self._parts(pages, query_rows, places, lines, window))

    def _parts(
        self, pages: Ints, query_rows: Ints, places: Ints, lines: ScoreTable, window: int | None
    ) -> Iterator[PageProducts]:
        """All pages that are looked at, once each: those of one row, and those of the same several."""
        shared = np.bincount(pages)[pages] > (1 if self._sharing else len(pages))
        own = ~shared
        if own.any():
            rows, at = query_rows[own], places[own]
            visible = self._visible(rows[:, None], at, window)[:, 0]
            mine = self._tensor(lines.of(rows[:, None], at)[:, 0])
            readers = PageReaders(self._rows, self._tensor(pages[own]), self._tensor(rows), visible, mine)
            yield OwnPages.of(readers, self._store)
        if shared.any():
            for groups in batched(grouped(pages[shared], query_rows[shared], places[shared])):
                yield self._together(PageGrid.of(groups, self._rows), lines, window)

    def _together(self, grid: PageGrid, lines: ScoreTable, window: int | None) -> SharedPages:
        groups, count, depth = grid.readers.shape
        rows, at = grid.readers.reshape(groups * count, depth), grid.places.reshape(-1)
        visible = self._visible(rows, at, window).view(groups, count, depth, -1)
        mine = self._tensor(lines.of(rows, at)).view(groups, count, depth, -1)
        looks = GridReaders(self._tensor(grid.pages), self._tensor(grid.readers[:, 0].copy()), visible, mine)
        return SharedPages.of(self._rows, looks, self._store)

    def _visible(self, rows: Ints, places: Ints, window: int | None) -> Tensor:
        """What rows [pages, n] see of the pages at `places` [pages] of their texts, bool [pages, n, page_size]."""
        size = self._store.page_size
        first = self._tensor(places * size)
        slots = first[:, None, None] + torch.arange(size, device=self._store.device)
        query = self._positions[self._tensor(rows)][:, :, None]
        visible = slots <= query
        if window is not None:
            visible &= slots > query - window
        return visible

    def _tensor(self, array: Ints) -> Tensor:
        return torch.from_numpy(array).to(self._store.device)
