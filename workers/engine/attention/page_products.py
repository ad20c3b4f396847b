"""The products of a step's rows with one layer's pages: those that one row looks at, and those of several.

On a CPU these wait for memory, not for arithmetic. So the values of a page that few query heads look at are not copied
for a product as its keys are, but summed where they lie: what an embedding bag does, the weights being attention's.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.params import AttentionParams, additive_mask

# Values are summed where they lie for up to so many query heads of a KV head. Each of them reads them anew: for about
# twice as many a copy and a product are as fast.
_MAX_SUMMED = 4


class PageProducts(Protocol):
    """Some of the pages that the rows of a step look at. `lines` int64 say where the scores lie (`page_scores.py`)."""

    @property
    def lines(self) -> Tensor: ...

    def scores(self, queries: Tensor, store: KVCache, layer: int, scoring: AttentionParams) -> Tensor:
        """[lines, page_size] from the queries of all rows, [rows, heads, head_dim]."""

    def mixed(self, weights: Tensor, store: KVCache, layer: int) -> Tensor:
        """What these pages give all rows, [rows, heads, head_dim]: values summed by the weights of all lines."""


@dataclass(frozen=True, slots=True, eq=False)
class PageReaders:
    """Pages, int64 [pages], and the row that looks at each, `query_rows` int64 [pages]; `rows` are there in all.

    What they may see is `visible`, bool [pages, page_size]; their `lines` are int64 [pages, heads].
    """

    rows: int
    pages: Tensor
    query_rows: Tensor
    visible: Tensor
    lines: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Bags:
    """The values that each query head of a step sums: where they lie in a layer, and which lines have their weights.

    `slots` int32 [lines x page_size], `starts` in that, int32 [rows x heads], and `lines` int64 [lines].
    """

    slots: Tensor
    starts: Tensor
    lines: Tensor

    @classmethod
    def of(cls, looks: PageReaders, store: KVCache) -> "_Bags":
        size, heads = store.page_size, looks.lines.shape[1]
        target_rows = (looks.query_rows[:, None] * heads + torch.arange(heads)).view(-1)
        order = target_rows.argsort(stable=True)
        lengths = target_rows.bincount(minlength=looks.rows * heads) * size
        # What is hidden weighs nothing: the page's first slot stands for it, so that no memory is read in vain.
        offsets = torch.where(looks.visible, torch.arange(size), 0)[:, None]
        first = store.first_slots(store.value_pages(looks.pages)).repeat_interleave(heads // store.kv_heads, dim=1)
        slots = (first[:, :, None] + offsets).view(-1, size)[order]
        return cls(slots.view(-1).int(), (lengths.cumsum(0) - lengths).int(), looks.lines.view(-1)[order])

    def mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        """[rows x heads, head_dim] from the weights of all lines and all slots of a layer."""
        mine = weights.index_select(0, self.lines).to(values.dtype)
        mixed: Tensor = torch.embedding_bag(values, self.slots, self.starts, per_sample_weights=mine.view(-1))[0]
        return mixed


@dataclass(frozen=True, slots=True, eq=False)
class OwnPages:
    """Pages that one row each looks at: `query_rows` int64 [pages]. `lines` are in the order of pages and query heads.

    `pages` int64 [pages] are copied whole, which is faster than their heads one by one. `hidden` [pages, 1, 1,
    page_size] is added to the scores. `bags` are None where a product mixes the values.
    """

    rows: int
    pages: Tensor
    query_rows: Tensor
    lines: Tensor
    hidden: Tensor
    bags: _Bags | None

    @classmethod
    def of(cls, looks: PageReaders, store: KVCache) -> "OwnPages":
        # An embedding bag takes no scales: quantised values are copied, which is what gives them back.
        lie_plain = store.device.type == "cpu" and store.quantised is None
        summed = looks.lines.shape[1] // store.kv_heads <= _MAX_SUMMED and lie_plain
        return cls(
            rows=looks.rows,
            pages=looks.pages,
            query_rows=looks.query_rows,
            lines=looks.lines.view(-1),
            # In the data type of the store: what rounding takes from scores it takes from their products anyway.
            hidden=additive_mask(looks.visible, store.dtype)[:, None, None],
            bags=_Bags.of(looks, store) if summed else None,
        )

    def scores(self, queries: Tensor, store: KVCache, layer: int, scoring: AttentionParams) -> Tensor:
        keys = store.gather(layer, self.pages).flatten(0, 1)
        mine = queries.index_select(0, self.query_rows).view(len(keys), -1, keys.shape[2])
        products = torch.bmm(mine, keys.transpose(1, 2))
        by_page = products.view(len(self.query_rows), store.kv_heads, -1, store.page_size)
        return scoring.scores(by_page, self.hidden).view(-1, store.page_size)

    def mixed(self, weights: Tensor, store: KVCache, layer: int) -> Tensor:
        if self.bags is not None:
            mixed = self.bags.mixed(weights, store.slots(layer))
            return mixed.view(self.rows, -1, mixed.shape[-1])
        values = store.gather(layer, store.value_pages(self.pages)).flatten(0, 1)
        mine = weights.index_select(0, self.lines).to(values.dtype)
        mixed = torch.bmm(mine.view(len(values), -1, values.shape[1]), values)
        by_page = mixed.view(len(self.query_rows), -1, values.shape[2])
        summed = mixed.new_zeros((self.rows, *by_page.shape[1:]), dtype=torch.float32)
        return summed.index_add_(0, self.query_rows, by_page.float())


@dataclass(frozen=True, slots=True, eq=False)
class GridReaders:
    """Groups of pages, int64 [groups, pages], and the rows that look at them: `readers` int64 [groups, readers].

    What they may see is `visible`, bool [groups, pages, readers, page_size]; their `lines` are int64 [groups, pages,
    readers, heads].
    """

    pages: Tensor
    readers: Tensor
    visible: Tensor
    lines: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SharedPages:
    """Groups of as many pages each, with as many rows that look at all pages of their group.

    A group's pages are one matrix for each KV head: `keys` and `values` int64 [groups x kv_heads x pages] say where
    they lie (`KVCache.heads`). `readers` int64 [groups x readers] are rows; nobody takes as the row past the last of
    `rows`. `lines` are in the order of groups, KV heads, readers, query heads of a KV head, and pages. `hidden`
    [groups, 1, readers, 1, pages x page_size] is added to the scores.
    """

    rows: int
    groups: int
    keys: Tensor
    values: Tensor
    readers: Tensor
    lines: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, rows: int, looks: GridReaders, store: KVCache) -> "SharedPages":
        keys, values = (
            store.heads(each).transpose(1, 2).reshape(-1) for each in (looks.pages, store.value_pages(looks.pages))
        )
        by_kv_head = looks.lines.view(*looks.lines.shape[:3], store.kv_heads, -1).permute(0, 3, 2, 4, 1)
        visible = looks.visible.transpose(1, 2).flatten(2)
        return cls(
            rows=rows,
            groups=len(looks.pages),
            keys=keys,
            values=values,
            readers=looks.readers.view(-1),
            lines=by_kv_head.reshape(-1),
            hidden=additive_mask(visible, store.dtype)[:, None, :, None],
        )

    def scores(self, queries: Tensor, store: KVCache, layer: int, scoring: AttentionParams) -> Tensor:
        keys = self._matrices(store.gather_heads(layer, self.keys), store)
        mine = queries.index_select(0, self.readers.clamp(max=self.rows - 1))
        by_group = mine.view(self.groups, -1, store.kv_heads, queries.shape[1] // store.kv_heads, queries.shape[2])
        by_kv_head = by_group.transpose(1, 2).reshape(len(keys), -1, queries.shape[2])
        products = torch.bmm(by_kv_head, keys.transpose(1, 2))
        by_reader = products.view(self.groups, store.kv_heads, self.hidden.shape[2], -1, keys.shape[1])
        return scoring.scores(by_reader, self.hidden).view(-1, store.page_size)

    def mixed(self, weights: Tensor, store: KVCache, layer: int) -> Tensor:
        values = self._matrices(store.gather_heads(layer, self.values), store)
        mine = weights.index_select(0, self.lines).to(values.dtype)
        mixed = torch.bmm(mine.view(len(values), -1, values.shape[1]), values)
        by_kv_head = mixed.view(self.groups, store.kv_heads, self.hidden.shape[2], -1, values.shape[2])
        by_reader = by_kv_head.transpose(1, 2).flatten(2, 3).flatten(0, 1)
        summed = mixed.new_zeros((self.rows + 1, *by_reader.shape[1:]), dtype=torch.float32)
        return summed.index_add_(0, self.readers, by_reader.float())[: self.rows]

    def _matrices(self, blocks: Tensor, store: KVCache) -> Tensor:
        """[groups x kv_heads, pages x page_size, head_dim]."""
        return blocks.view(self.groups * store.kv_heads, -1, blocks.shape[-1])
