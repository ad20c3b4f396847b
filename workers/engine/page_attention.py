"""Attention of single queries over pages, in plain PyTorch: the decode half of a step.

Each page is multiplied with the query it belongs to, all pages in one batched matrix product with the query heads of a
KV head as rows; the pages' parts are then merged per sequence (Dao et al.: "Flash-Decoding", 2023). So nothing is
padded to the longest sequence, and pages that many sequences share are read once for all of them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from workers.engine.kv_store import KvStore
from workers.engine.page_pairs import Pairs
from workers.engine.scoring import Scoring
from workers.engine.step_batch import Ints, StepBatch

# Shared pages are multiplied with all queries that share any, unless less than this part of the pairs is wanted.
_LEAST_DENSITY = 0.25


class PageAttention:
    """The decode rows of one step; made once, used by every layer.

    Without `sharing` every row attends by itself over its own copies of pages.
    """

    def __init__(self, batch: StepBatch, store: KvStore, *, sharing: bool = True) -> None:
        spans = batch.decodes
        self._store = store
        self._spans = spans
        self._sharing = sharing
        self._rows = len(spans)
        self._places = store.places(batch.write_pages[: self._rows], batch.write_slots[: self._rows])
        # The row past the last sees nothing: position -1 is before every key.
        self._positions = self._tensor(np.array([*(span.start for span in spans), -1]))
        self._parts: dict[int | None, list[Pairs]] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape; keys and values [rows, kv_heads, head_dim] are stored."""
        self._store.write(layer, torch.cat((keys, values)), self._places)
        rows, heads, dim = queries.shape
        if scoring.window not in self._parts:
            self._parts[scoring.window] = list(self._pairs(scoring.window, heads))
        parts = self._parts[scoring.window]
        flat = queries.reshape(-1, dim)
        scored = [pairs.scores(flat, self._store, layer, scoring) for pairs in parts]
        places = len(flat) + heads  # the last are nobody's
        highest = flat.new_full((places,), torch.finfo(scored[0].dtype).min, dtype=torch.float32)
        for pairs, scores in zip(parts, scored, strict=True):
            # As float32, for which the highest is found much faster.
            highest.scatter_reduce_(0, pairs.owners, scores.float().amax(dim=-1), "amax")
        sums, out = highest.new_zeros(places), highest.new_zeros(rows + 1, heads * dim)
        for pairs, scores in zip(parts, scored, strict=True):
            peaks = highest.index_select(0, pairs.owners).to(scores.dtype)
            weights = scores.sub_(peaks[:, None]).exp_().to(values.dtype)
            sums.index_add_(0, pairs.owners, weights.sum(dim=-1, dtype=torch.float32))
            out.index_add_(0, pairs.takers, pairs.mixed(weights, self._store, layer).float())
        out = out.view(places, dim).div_(sums[:, None])
        return out[: len(flat)].view(rows, heads, dim).to(queries.dtype)

    def _pairs(self, window: int | None, heads: int) -> Iterator[Pairs]:
        """The pages that the rows look at through a window: those that one row has to itself, and the shared ones."""
        size = self._store.page_size
        begins = [0 if window is None else max(0, span.end - window) // size for span in self._spans]
        ranges = [np.arange(begin, len(span.pages)) for begin, span in zip(begins, self._spans, strict=True)]
        pages = np.concatenate([span.pages[each] for span, each in zip(self._spans, ranges, strict=True)])
        owners = np.repeat(np.arange(self._rows), [len(each) for each in ranges])
        first = np.concatenate(ranges) * size
        shared = np.bincount(pages)[pages] > (1 if self._sharing else len(pages))
        own = ~shared
        if own.any():
            yield self._of(pages[own], owners[own, None], first[own], window, heads)
        if shared.any():
            yield self._of(*self._crossed(pages[shared], owners[shared], first[shared]), window, heads)

    def _crossed(self, pages: Ints, owners: Ints, first: Ints) -> tuple[Ints, Ints, Ints]:
        """Each page once, with all rows that share any; or as they came, if most of these pairs were in vain."""
        distinct, which = np.unique(pages, return_inverse=True)
        sharers, who = np.unique(owners, return_inverse=True)
        if len(pages) < _LEAST_DENSITY * len(distinct) * len(sharers):
            return pages, owners[:, None], first
        table = np.full((len(distinct), len(sharers)), self._rows)
        table[which, who] = owners
        distinct_first = np.zeros(len(distinct), dtype=np.int64)
        distinct_first[which] = first
        return distinct, table, distinct_first

    def _of(self, pages: Ints, owners: Ints, first: Ints, window: int | None, heads: int) -> Pairs:
        rows = self._tensor(owners)
        slots = self._tensor(first)[:, None, None] + torch.arange(self._store.page_size, device=self._store.device)
        query = self._positions[rows][:, :, None]
        visible = slots <= query
        if window is not None:
            visible &= slots > query - window
        return Pairs.of(self._tensor(pages), rows, visible, heads, self._store)

    def _tensor(self, array: Ints) -> Tensor:
        return torch.from_numpy(array).to(self._store.device)
