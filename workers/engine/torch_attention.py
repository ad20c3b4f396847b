"""Attention over pages as transformers' own model classes call it; here by plain PyTorch, which every device knows.

A backend (`StepAttention`) takes a layer's packed queries, keys and values, stores the latter in the pages and returns
the mixed values. One made for a device takes the place of `TorchAttention` there.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from workers.engine.kv_store import KvStore
from workers.engine.page_attention import PageAttention, Scoring
from workers.engine.step_batch import Span, StepBatch

ATTENTION = "pelton_paged"
"""The name under which models find `_attend`."""


class StepAttention(Protocol):
    """All attention of one step."""

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
        """[rows, heads, head_dim] from queries of that shape and keys and values [rows, kv_heads, head_dim]."""


class TorchAttention:
    """Decode rows by `PageAttention`, prompt chunks one by one through PyTorch's fused attention."""

    def __init__(self, batch: StepBatch, store: KvStore, *, sharing: bool = True) -> None:
        self._batch = batch
        self._store = store
        self._decodes = PageAttention(batch.decodes, store, sharing=sharing) if batch.decodes else None
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
        self._store.write(layer, keys, values, self._batch.write_pages, self._batch.write_slots)
        decoded = len(self._batch.decodes)
        parts = [] if self._decodes is None else [self._decodes.attend(layer, queries[:decoded], scoring)]
        for span in self._batch.chunks:
            rows = slice(span.row, span.row + span.count)
            context = (keys[rows], values[rows]) if span.start == 0 else self._gather(layer, span)
            parts.append(self._chunk(span, queries[rows], *context, scoring))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _gather(self, layer: int, span: Span) -> tuple[Tensor, Tensor]:
        """A sequence's keys and values out of its pages, each [end, kv_heads, head_dim]."""
        paged = self._store.gather(layer, torch.from_numpy(span.pages).to(self._store.device))
        keys, values = (each.transpose(1, 2).reshape(-1, each.shape[1], each.shape[3])[: span.end] for each in paged)
        return keys, values

    def _chunk(self, span: Span, queries: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
        q, k, v = (each.transpose(0, 1)[None] for each in (queries, keys, values))
        windowed = scoring.window is not None and span.end > scoring.window
        mask = None if span.start == 0 and not windowed else self._mask(span, scoring.window)
        if scoring.softcap is None:
            grouped = q.shape[1] != k.shape[1]
            mixed = scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scoring.scale, enable_gqa=grouped
            )
        else:
            mixed = _capped(q, k, v, self._mask(span, scoring.window), scoring)
        return mixed[0].transpose(0, 1)

    def _mask(self, span: Span, window: int | None) -> Tensor:
        """True where a query may look, [count, end]."""
        key = (span.row, window)
        if key not in self._masks:
            slot = torch.arange(span.end, device=self._batch.positions.device)
            query = slot[span.start :, None]
            visible = slot <= query
            self._masks[key] = visible if window is None else visible & (slot > query - window)
        return self._masks[key]


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
    return step.attend(module.layer_idx, q, k, v, Scoring(scaling, sliding_window, softcap))[None], None


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Attention with capped scores (Gemma 2), which PyTorch's fused kernels do not know."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = scoring.scores(q @ k.transpose(-1, -2)).masked_fill_(~mask, -torch.inf)
    return scores.softmax(dim=-1).to(v.dtype) @ v
