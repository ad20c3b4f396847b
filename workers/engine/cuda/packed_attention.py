"""The kernels of attention for steps that keep nothing on the device: tables and splits are made anew for each.

For models in parts, whose steps are computed one by one; `executor.py` is faster where it can be used.
"""

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.cuda.attention import Layout, TritonAttention
from pelton.workers.engine.cuda.kernels.prefill import block_tokens, cut_blocks
from pelton.workers.engine.cuda.kernels.splits import Splits, most_splits, plan_splits
from pelton.workers.engine.cuda.step_input import Ints, Rows
from pelton.workers.engine.transfer import upload

# A table's width is filled up to a multiple of this: kernels are compiled anew for what is not aligned.
_ALIGNED = 16


class PackedAttention:
    """Makes the attention of a step; no two single rows may be of one sequence, as each writes while others read."""

    def __init__(self, query_heads_per_kv_head: int) -> None:
        self._group = query_heads_per_kv_head

    def __call__(self, batch: PackedBatch, store: KVCache) -> TritonAttention:
        """All rows of `batch`, singles first, over the pages of `store`; each span has a line of the table."""
        spans = (*batch.decodes, *batch.chunks)
        singles, device = len(batch.decodes), store.device
        slots = np.repeat(np.arange(len(spans)), [span.count for span in spans])
        stored = np.repeat([span.stored for span in spans], [span.count for span in spans])
        rows = Rows(
            tokens=batch.tokens,
            slots=upload(slots, torch.int64, device),
            writes=upload(np.where(stored, len(spans), slots), torch.int64, device),
            positions=batch.positions.contiguous(),
        )
        splits = self._splits(batch.decodes, store) if singles else None
        blocks = self._blocks(batch.chunks, singles, store) if batch.chunks else None
        return TritonAttention(Layout(rows, singles, splits, blocks), _tables(spans, store), store)

    def _splits(self, decodes: tuple[RowSpan, ...], store: KVCache) -> Splits:
        positions: Ints = np.array([span.start for span in decodes], dtype=np.int64)
        items, offsets = plan_splits(positions, store.page_size, most_splits(len(decodes), store.kv_heads))
        return Splits(upload(items, torch.int64, store.device), upload(offsets, torch.int64, store.device))

    def _blocks(self, chunks: tuple[RowSpan, ...], singles: int, store: KVCache) -> Tensor:
        places = [(singles + index, span.row, span.start, span.count) for index, span in enumerate(chunks)]
        dim = store.keys[0].shape[-1]
        tokens = block_tokens(self._group, dim, store.dtype.itemsize)
        return upload(cut_blocks(np.array(places, dtype=np.int64), tokens), torch.int64, store.device)


def _tables(spans: tuple[RowSpan, ...], store: KVCache) -> Tensor:
    """Each span's pages in a line, and padding's below them, int64 [spans + 1, width]."""
    width = -(-max(len(span.pages) for span in spans) // _ALIGNED) * _ALIGNED
    table = np.full((len(spans) + 1, width), store.null_page, dtype=np.int64)
    for line, span in zip(table, spans, strict=False):
        line[: len(span.pages)] = span.pages
    return upload(table, torch.int64, store.device)
