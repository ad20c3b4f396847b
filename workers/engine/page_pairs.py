"""Pages and the queries that look at them: what all layers of a step share, and the products with one layer's pages.

On a CPU these wait for memory, not for arithmetic. So the values of a page that few query heads look at are not copied
for a product as its keys are, but summed where they lie: what an embedding bag does, the weights being attention's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.kv_store import KvStore
from workers.engine.scoring import Scoring, hiding

# Values are summed where they lie for up to so many query heads of a KV head. Each of them reads them anew: for about
# twice as many a copy and a product are as fast.
_MOST_SUMMED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pages, each with as many queries that look at it: `takers` int64 [pages x queries] are their rows in the step.

    A query head that looks at a page has a line of scores. The lines are in the order of pages, KV heads, queries, and
    query heads of a KV head; `askers` int64 [lines] are their places among all query heads of the step, `owners` the
    places that get what comes of it. What nobody asked for goes to a row, and to places, past the last. `hidden`
    [pages, 1, queries, 1, page_size] is added to the scores. `bags` tell where in a layer each line's values lie,
    int32 [lines x page_size], and where each line begins in that, int32 [lines]; None where a product mixes them.
    """

    pages: Tensor
    takers: Tensor
    askers: Tensor
    owners: Tensor
    hidden: Tensor
    bags: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, pages: Tensor, takers: Tensor, visible: Tensor, heads: int, store: KvStore) -> "Pairs":
        """From `takers` int64 [pages, queries] and what they may see, bool [pages, queries, page_size].

        A query that may see nothing is nobody's.
        """
        count, queries, size = visible.shape
        group = heads // store.kv_heads
        head = torch.arange(heads, device=store.device).view(store.kv_heads, 1, group)
        owners = takers[:, None, :, None] * heads + head
        askers = torch.where(visible.any(dim=-1), takers, 0)[:, None, :, None] * heads + head
        bags = None
        if queries == 1 and group <= _MOST_SUMMED and store.device.type == "cpu":
            # What is hidden counts nothing: the page's first slot stands for it, so that no memory is read in vain.
            slots = torch.where(visible, torch.arange(size), 0).int()[:, None]
            first = store.first_slots(store.value_pages(pages)).int()[:, :, None, None]
            places = (first + slots).expand(count, store.kv_heads, group, size).reshape(-1)
            bags = places, torch.arange(0, len(places), size, dtype=torch.int32)
        # In the data type of the store: what rounding takes from scores it takes from their products anyway.
        hidden = hiding(visible, store.dtype)[:, None, :, None]
        return cls(pages, takers.view(-1), askers.view(-1), owners.view(-1), hidden, bags)

    def scores(self, queries: Tensor, store: KvStore, layer: int, scoring: Scoring) -> Tensor:
        """[lines, page_size] from all query heads of the step, [places, head_dim]."""
        keys = store.gather(layer, self.pages)
        pages, kv_heads, size, dim = keys.shape
        mine = queries.index_select(0, self.askers).view(pages * kv_heads, -1, dim)
        products = torch.bmm(mine, keys.view(-1, size, dim).transpose(1, 2))
        by_query = products.view(pages, kv_heads, self.hidden.shape[2], -1, size)
        return scoring.scores(by_query, self.hidden).view(-1, size)

    def mixed(self, weights: Tensor, store: KvStore, layer: int) -> Tensor:
        """What each of `takers` gets, [takers, heads x head_dim]: values summed by weights of the scores' shape."""
        if self.bags is not None:
            slots, starts = self.bags
            mixed = torch.embedding_bag(store.slots(layer), slots, starts, per_sample_weights=weights.view(-1))[0]
        else:
            values = store.gather(layer, store.value_pages(self.pages)).flatten(0, 1)
            mixed = torch.bmm(weights.view(len(values), -1, values.shape[1]), values)
        by_head = mixed.view(len(self.pages), store.kv_heads, self.hidden.shape[2], -1)
        return by_head.transpose(1, 2).reshape(len(self.takers), -1)
