"""Pages and the rows that look at them: what all layers of a step share, and the products with one layer's pages.

On a CPU these wait for memory, not for arithmetic. So the values of a page that few query heads look at are not copied
for a product as its keys are, but summed where they lie: what an embedding bag does, the weights being attention's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.params import AttentionParams, additive_mask

# Values are summed where they lie for up to so many query heads of a KV head. Each of them reads them anew: for about
# twice as many a copy and a product are as fast.
_MAX_SUMMED = 4


@dataclass(frozen=True, slots=True, eq=False)
class PageReaders:
    """Pages, int64 [pages], and the rows that look at each: `query_rows` int64 [pages, readers]; `rows` for none.

    What they may see is `visible`, bool [pages, readers, page_size]; their `lines` (`page_scores.py`) are int64 [pages,
    readers, heads].
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
        """For pages with one looker each."""
        size, heads = store.page_size, looks.lines.shape[2]
        target_rows = (looks.query_rows * heads + torch.arange(heads)).view(-1)
        order = target_rows.argsort(stable=True)
        lengths = target_rows.bincount(minlength=looks.rows * heads) * size
        # What is hidden weighs nothing: the page's first slot stands for it, so that no memory is read in vain.
        offsets = torch.where(looks.visible, torch.arange(size), 0)
        first = store.first_slots(store.value_pages(looks.pages)).repeat_interleave(heads // store.kv_heads, dim=1)
        slots = (first[:, :, None] + offsets).view(-1, size)[order]
        return cls(slots.view(-1).int(), (lengths.cumsum(0) - lengths).int(), looks.lines.view(-1)[order])

    def mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        """[rows x heads, head_dim] from the weights of all lines and all slots of a layer."""
        mine = weights.index_select(0, self.lines).to(values.dtype)
        mixed: Tensor = torch.embedding_bag(values, self.slots, self.starts, per_sample_weights=mine.view(-1))[0]
        return mixed


@dataclass(frozen=True, slots=True, eq=False)
class PageProducts:
    """Pages, int64 [pages], and as many rows for each: `source_rows` and `target_rows` int64 [pages x readers].

    Nobody asks as any row, and takes as the row past the last of `rows`. `lines` int64 are in the order of pages, KV
    heads, readers, and query heads of a KV head. `hidden` [pages, 1, readers, 1, page_size] is added to the scores.
    `bags` are None where a product mixes the values.
    """

    rows: int
    pages: Tensor
    source_rows: Tensor
    target_rows: Tensor
    lines: Tensor
    hidden: Tensor
    bags: _Bags | None

    @classmethod
    def of(cls, looks: PageReaders, store: KVCache) -> "PageProducts":
        pages, readers, heads = looks.lines.shape
        group = heads // store.kv_heads
        # An embedding bag takes no scales: quantised values are copied, which is what gives them back.
        lie_plain = store.device.type == "cpu" and store.quantised is None
        summed = readers == 1 and group <= _MAX_SUMMED and lie_plain
        target_rows = looks.query_rows.view(-1)
        return cls(
            rows=looks.rows,
            pages=looks.pages,
            source_rows=target_rows.clamp(max=looks.rows - 1),
            target_rows=target_rows,
            lines=looks.lines.view(pages, readers, store.kv_heads, group).transpose(1, 2).reshape(-1),
            # In the data type of the store: what rounding takes from scores it takes from their products anyway.
            hidden=additive_mask(looks.visible, store.dtype)[:, None, :, None],
            bags=_Bags.of(looks, store) if summed else None,
        )

    def scores(self, queries: Tensor, store: KVCache, layer: int, scoring: AttentionParams) -> Tensor:
        """[lines, page_size] from the queries of all rows, [rows, heads, head_dim]."""
        keys = store.gather(layer, self.pages)
        pages, kv_heads, size, dim = keys.shape
        mine = queries.index_select(0, self.source_rows).view(pages, -1, kv_heads, queries.shape[1] // kv_heads, dim)
        by_kv_head = mine.transpose(1, 2).reshape(pages * kv_heads, -1, dim)
        products = torch.bmm(by_kv_head, keys.view(-1, size, dim).transpose(1, 2))
        by_looker = products.view(pages, kv_heads, mine.shape[1], -1, size)
        return scoring.scores(by_looker, self.hidden).view(-1, size)

    def mixed(self, weights: Tensor, store: KVCache, layer: int) -> Tensor:
        """What these pages give all rows, [rows, heads, head_dim]: values summed by the weights of all lines."""
        if self.bags is not None:
            mixed = self.bags.mixed(weights, store.slots(layer))
            return mixed.view(self.rows, -1, mixed.shape[-1])
        values = store.gather(layer, store.value_pages(self.pages)).flatten(0, 1)
        mine = weights.index_select(0, self.lines).to(values.dtype)
        mixed = torch.bmm(mine.view(len(values), -1, values.shape[1]), values)
        by_kv_head = mixed.view(len(self.pages), store.kv_heads, self.hidden.shape[2], -1, values.shape[2])
        by_taker = by_kv_head.transpose(1, 2).flatten(2, 3).flatten(0, 1)
        summed = mixed.new_zeros((self.rows + 1, *by_taker.shape[1:]), dtype=torch.float32)
        return summed.index_add_(0, self.target_rows, by_taker.float())[: self.rows]
