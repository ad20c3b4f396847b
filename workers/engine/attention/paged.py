"""Attention over pages as transformers' own model classes call it; here by PyTorch, and by kernels in C on a CPU.

A backend (`StepAttention`) takes a layer's packed queries, keys and values, stores the latter in the pages and returns
the mixed values. One made for a device takes the place of `TorchAttention` there.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from pelton.workers.engine.attention.decode import PageAttention
from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.native_decode import NativeAttention, native_attention
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.params import AttentionParams, additive_mask

ATTENTION = "pelton_paged"
"""The name under which models find `_attend`."""

# What the scores of one product may take: it stays in a core's cache. Smaller blocks cost more calls, larger ones wait
# for memory and compute more that is hidden.
_SCORES_BYTES = 2**20

# Queries with a window see other keys each: more at once compute more that is hidden.
_WINDOW_ROWS = 128


class StepAttention(Protocol):
    """All attention of one step."""

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape and keys and values [rows, kv_heads, head_dim]."""


class TorchAttention:
    """Decode rows by what is fastest for them, prompt chunks one by one.

    Chunks read what is stored wherever it is quantised, their own tokens too: an answer must not depend on how a prompt
    was cut, or on how much of it another request had left in the pages.
    """

    def __init__(self, batch: PackedBatch, store: KVCache, *, sharing: bool = True) -> None:
        self._batch = batch
        self._store = store
        self._decodes = _decode_rows(batch, store, sharing=sharing) if batch.decodes else None
        rows = len(batch.decodes)
        self._places = store.places(batch.write_pages[rows:], batch.write_slots[rows:])
        self._masks: dict[tuple[int, int, int | None, torch.dtype], Tensor] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        if self._decodes is not None and not self._batch.chunks:
            return self._decodes.attend(layer, queries, keys, values, scoring)
        decoded = len(self._batch.decodes)
        parts = []
        if self._decodes is not None:
            parts.append(self._decodes.attend(layer, queries[:decoded], keys[:decoded], values[:decoded], scoring))
        self._store.write(layer, keys[decoded:], values[decoded:], self._places)
        for span in self._batch.chunks:
            rows = slice(span.row, span.row + span.count)
            fresh = span.start == 0 and self._store.quantised is None
            context = (keys[rows], values[rows]) if fresh else self._gather(layer, span)
            parts.append(self._chunk(span, queries[rows], *context, scoring))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _gather(self, layer: int, span: RowSpan) -> tuple[Tensor, Tensor]:
        """A sequence's keys and values out of its pages, each [end, kv_heads, head_dim]."""
        paged = self._store.gather(layer, self._store.both(torch.from_numpy(span.pages).to(self._store.device)))
        keys, values = (each.transpose(1, 2).flatten(0, 1)[: span.end] for each in paged.chunk(2))
        return keys, values

    def _chunk(self, span: RowSpan, queries: Tensor, keys: Tensor, values: Tensor, scoring: AttentionParams) -> Tensor:
        """[count, heads, head_dim]: some queries at a time, each with no more keys than they may see."""
        size, window = _rows_at_once(span, queries.shape[1], scoring), scoring.window
        parts = []
        for row in range(0, span.count, size):
            block = queries[row : row + size]
            at, end = span.start + row, span.start + row + len(block)
            begin = 0 if window is None else max(0, at + 1 - window)
            seen = keys[begin:end], values[begin:end]
            if scoring.softcap is not None:
                parts.append(_capped(block, *seen, self._hidden(at, begin, end, window, torch.float32), scoring))
            elif at == 0 and (window is None or end <= window):
                parts.append(_fused(block, *seen, None, scoring))
            else:
                parts.append(_fused(block, *seen, self._hidden(at, begin, end, window, block.dtype), scoring))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _hidden(self, at: int, begin: int, end: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Hides what the queries from `at` on may not see: [end - at, end - begin]."""
        key = (at, end, window, dtype)
        if key not in self._masks:
            slot = torch.arange(begin, end, device=self._batch.positions.device)
            query = slot[at - begin :, None]
            visible = slot <= query
            if window is not None:
                visible &= slot > query - window
            self._masks[key] = additive_mask(visible, dtype)
        return self._masks[key]


def _decode_rows(batch: PackedBatch, store: KVCache, *, sharing: bool) -> NativeAttention | PageAttention:
    """What is fastest for the decode rows of a step."""
    return native_attention(batch, store, sharing=sharing) or PageAttention(batch, store, sharing=sharing)


def _rows_at_once(span: RowSpan, heads: int, scoring: AttentionParams) -> int:
    """How many queries of a chunk are computed together."""
    if scoring.softcap is not None:
        blocks = -(-span.count * span.end * heads * torch.float32.itemsize // _SCORES_BYTES)
        return -(-span.count // blocks)
    return span.count if scoring.window is None or span.end <= scoring.window else _WINDOW_ROWS


def _fused(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None, scoring: AttentionParams) -> Tensor:
    """PyTorch's fused attention of [n, heads, dim] over [m, kv_heads, dim]; without `hidden` query k sees k keys."""
    mine, theirs, mixed = (each.transpose(0, 1)[None] for each in (queries, keys, values))
    found = functional.scaled_dot_product_attention(
        mine, theirs, mixed, attn_mask=hidden, is_causal=hidden is None, scale=scoring.scale, enable_gqa=True
    )
    return found[0].transpose(0, 1)


def _capped(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor, scoring: AttentionParams) -> Tensor:
    """The same with capped scores, which fused attention does not know; the query heads of a KV head are rows of one
    product.
    """
    count, heads, dim = queries.shape
    keys, values = keys.permute(1, 2, 0), values.transpose(0, 1)
    kv_heads = keys.shape[0]
    mine = queries.reshape(count, kv_heads, -1, dim).transpose(0, 1).reshape(kv_heads, -1, dim)
    products = torch.bmm(mine, keys).view(kv_heads, count, heads // kv_heads, -1)
    weights = scoring.scores(products, hidden[:, None]).softmax(dim=-1).to(values.dtype)
    mixed = torch.bmm(weights.view(kv_heads, -1, values.shape[1]), values)
    return mixed.view(kv_heads, count, -1, dim).transpose(0, 1).reshape(count, heads, dim)


def register() -> None:
    """Make the attention known to transformers."""
    AttentionInterface.register(ATTENTION, _attend)


def _attend(  # noqa: PLR0913 (transformers' signature)
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 (transformers' signature; what may be seen follows from the pages)
    *,
    scaling: float,
    step: StepAttention,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, rows, heads, head_dim] from [1, heads, rows, head_dim], as transformers calls it for one packed row."""
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    return step.attend(module.layer_idx, q, k, v, AttentionParams(scaling, sliding_window, softcap))[None], None
