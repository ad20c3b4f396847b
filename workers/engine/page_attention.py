"""Attention of single queries over pages, in plain PyTorch: the decode half of a step.

Each page is multiplied with the query it belongs to, all pages in one batched matrix product with the query heads of a
KV head as rows; the pages' partial softmaxes are then merged per sequence (Dao et al.: "Flash-Decoding", 2023). So
nothing is padded to the longest sequence, and pages that many sequences share are read once for all of them.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.engine.kv_store import KvStore
from workers.engine.step_batch import Ints, StepBatch

# Large enough that its exponential is 0 beside any real score, and finite, so that a page that is masked as a whole
# gets a weight of 0 and not of NaN.
_MASKED = -1e30

# Shared pages are multiplied with all queries that share any, unless less than this part of the pairs is wanted.
_LEAST_DENSITY = 0.25


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a layer makes weights of queries and keys; `window` tokens are visible (None: all before)."""

    scale: float
    window: int | None = None
    softcap: float | None = None

    def scores(self, products: Tensor, bias: Tensor) -> Tensor:
        """Float32 scores from products of queries and keys; `bias`, which hides some, is added last."""
        if self.softcap is None:
            return torch.add(bias, products, alpha=self.scale)
        return products.float().mul_(self.scale / self.softcap).tanh_().mul_(self.softcap).add_(bias)


@dataclass(slots=True, eq=False)
class _Pairs:
    """Pages, each with queries that look at it: `owners` int64 [pages, queries] are their rows.

    `both` is where the pages lie, as `KvStore.gather` takes it. A row of `rows` (one past the last) stands for a query
    that gets nothing. `fresh` says where among the copied pages each row's new key and value belong, as `KvStore.amend`
    takes it; None where they belong to none of them.
    """

    both: Tensor
    owners: Tensor
    first: Tensor
    query_positions: Tensor
    page_size: int
    fresh: Tensor | None = None
    _bias: dict[int | None, Tensor] = field(default_factory=dict)

    def bias(self, window: int | None) -> Tensor:
        """0 where a query may look and `_MASKED` elsewhere, float32 [pages, 1, queries, 1, page_size]."""
        if window not in self._bias:
            slots = self.first[:, None] + torch.arange(self.page_size, device=self.first.device)
            query = self.query_positions[self.owners][:, :, None]
            visible = slots[:, None] <= query
            if window is not None:
                visible &= slots[:, None] > query - window
            self._bias[window] = torch.where(visible, 0.0, _MASKED)[:, None, :, None]
        return self._bias[window]


class PageAttention:
    """The decode rows of one step; made once, used by every layer.

    Without `sharing` every row attends by itself over its own copies of pages, and sees what other rows of this step
    have put in them.
    """

    def __init__(self, batch: StepBatch, store: KvStore, *, sharing: bool = True) -> None:
        spans = batch.decodes
        self._store = store
        self._spans = spans
        self._sharing = sharing
        self._rows = len(spans)
        self._places = store.places(batch.write_pages[: self._rows], batch.write_slots[: self._rows])
        self._slots = batch.write_slots[: self._rows]
        # The row past the last sees nothing: position -1 is before every key.
        self._positions = self._tensor(np.array([*(span.start for span in spans), -1]))
        self._groups: dict[int | None, tuple[list[_Pairs], Tensor]] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape; keys and values [rows, kv_heads, head_dim] are stored."""
        rows, heads, dim = queries.shape
        padded = torch.cat((queries, queries.new_zeros(1, heads, dim)))
        if scoring.window not in self._groups:
            self._groups[scoring.window] = self._grouped(scoring.window)
        groups, owners = self._groups[scoring.window]
        fresh = torch.cat((keys, values))
        if not self._sharing:
            self._store.write(layer, fresh, self._places)
        parts = []
        for group in groups:
            copies = self._store.gather(layer, group.both)
            if group.fresh is not None:
                # Only now, as the pages' memory has just been read: written first, each token would wait for it.
                self._store.write(layer, fresh, self._places)
                self._store.amend(fresh, group.fresh)
            parts.append(self._partial(group, *copies, padded, scoring))
        peak, total, mixed = (torch.cat(each) if len(parts) > 1 else each[0] for each in zip(*parts, strict=True))
        lowest = peak.new_full((rows + 1, heads), _MASKED)
        highest = lowest.scatter_reduce_(0, owners[:, None].expand(-1, heads), peak, "amax")
        weight = torch.exp(peak - highest.index_select(0, owners)).mul_(total)
        sums = peak.new_zeros(rows + 1, heads).index_add_(0, owners, weight)
        out = peak.new_zeros(rows + 1, heads, dim).index_add_(0, owners, mixed * weight[..., None])
        return (out[:rows] / sums[:rows, :, None]).to(queries.dtype)

    def _grouped(self, window: int | None) -> tuple[list[_Pairs], Tensor]:
        """The pages that the rows look at through a window: those that one row has to itself, and the shared ones.

        Beside them the owners of all their pairs, in order.
        """
        size = self._store.page_size
        begins = [0 if window is None else max(0, span.end - window) // size for span in self._spans]
        ranges = [np.arange(begin, len(span.pages)) for begin, span in zip(begins, self._spans, strict=True)]
        pages = np.concatenate([span.pages[each] for span, each in zip(self._spans, ranges, strict=True)])
        owners = np.repeat(np.arange(self._rows), [len(each) for each in ranges])
        first = np.concatenate(ranges) * size
        holders = np.bincount(pages)[pages] if self._sharing else np.ones_like(pages)
        own, shared = holders == 1, holders > 1
        groups: list[_Pairs] = []
        if own.any():
            groups.append(self._pairs(pages[own], owners[own][:, None], first[own], self._newest(own, ranges)))
        if shared.any():
            groups.append(self._shared(pages[shared], owners[shared], first[shared]))
        return groups, torch.cat([group.owners.reshape(-1) for group in groups])

    def _newest(self, own: NDArray[np.bool_], ranges: list[Ints]) -> Tensor | None:
        """Where among the rows' own pages the newest tokens belong; nowhere for those that are stored already."""
        if not self._sharing:
            return None
        last = np.cumsum([len(each) for each in ranges]) - 1
        pages = np.where(own[last], np.cumsum(own)[last] - 1, -1)
        return self._store.copied_places(self._tensor(pages), self._slots, int(own.sum()))

    def _partial(
        self, group: _Pairs, keys: Tensor, values: Tensor, queries: Tensor, scoring: Scoring
    ) -> tuple[Tensor, Tensor, Tensor]:
        """For each pair of page and query: highest score, sum of weights relative to it, and values weighted to 1."""
        pages, kv_heads, size, dim = keys.shape
        many, heads = group.owners.shape[1], queries.shape[1]
        mine = queries.index_select(0, group.owners.reshape(-1)).view(pages, many, kv_heads, -1, dim)
        mine = mine.transpose(1, 2).reshape(pages * kv_heads, -1, dim)
        products = torch.bmm(mine, keys.view(-1, size, dim).transpose(1, 2))
        scores = scoring.scores(products.view(pages, kv_heads, many, -1, size), group.bias(scoring.window))
        peak = scores.amax(dim=-1)
        weights = torch.softmax(scores, dim=-1)
        # The likeliest has exp(0) before it is divided by the sum: so the sum is found without another exponential.
        total = weights.amax(dim=-1).reciprocal_()
        mixed = torch.bmm(weights.view(pages * kv_heads, -1, size).to(values.dtype), values.view(-1, size, dim))
        by_pair = (
            part.view(pages, kv_heads, many, heads // kv_heads, -1).transpose(1, 2).reshape(pages * many, heads, -1)
            for part in (peak, total, mixed.float())
        )
        peak, total, mixed = by_pair
        return peak[..., 0], total[..., 0], mixed

    def _shared(self, pages: Ints, owners: Ints, first: Ints) -> _Pairs:
        distinct, which = np.unique(pages, return_inverse=True)
        sharers, who = np.unique(owners, return_inverse=True)
        if len(pages) < _LEAST_DENSITY * len(distinct) * len(sharers):
            return self._pairs(pages, owners[:, None], first)
        table = np.full((len(distinct), len(sharers)), self._rows)
        table[which, who] = owners
        distinct_first = np.zeros(len(distinct), dtype=np.int64)
        distinct_first[which] = first
        return self._pairs(distinct, table, distinct_first)

    def _pairs(self, pages: Ints, owners: Ints, first: Ints, fresh: Tensor | None = None) -> _Pairs:
        tensors = self._store.both(self._tensor(pages)), self._tensor(owners), self._tensor(first)
        return _Pairs(*tensors, self._positions, self._store.page_size, fresh)

    def _tensor(self, array: Ints) -> Tensor:
        return torch.from_numpy(array).to(self._store.device)
