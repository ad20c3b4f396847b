"""Attention over pages as the device's step describes them, in plain PyTorch, and an engine that uses it on a CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.config import ContinuousConfig, EngineLimits
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.cuda.attention import Layout
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.model.loading import LoadedModel


@dataclass(frozen=True)
class PlainAttention:
    """Reads nothing but what the kernels read: slots, tables, positions and blocks."""

    layout: Layout
    tables: Tensor
    store: KVCache

    def attend(  # noqa: PLR0913, PLR0917 (the protocol's)
        self,
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scoring: AttentionParams,
        norm_rope: NormRope | None = None,
    ) -> Tensor:
        if norm_rope is not None:
            queries, keys = (
                normed_and_turned(each, weight, norm_rope)
                for each, weight in ((queries, norm_rope.query_weight), (keys, norm_rope.key_weight))
            )
        rows, size = self.layout.rows, self.store.page_size
        pages = self.tables[rows.writes, rows.positions // size]
        for store, fresh in ((self.store.keys[layer], keys), (self.store.values[layer], values)):
            store[pages, :, rows.positions % size] = fresh
        singles = torch.stack((rows.slots, torch.arange(len(rows.slots)), rows.positions, torch.ones_like(rows.slots)))
        blocks = [] if self.layout.blocks is None else self.layout.blocks.tolist()
        out = torch.full(queries.shape, torch.nan)
        for slot, row, start, count in singles.T[: self.layout.singles].tolist() + blocks:
            if count == 0:
                continue
            out[row : row + count] = self._mixed_step(layer, queries[row : row + count], slot, start, scoring)
        return out

    def _mixed_step(self, layer: int, queries: Tensor, slot: int, start: int, scoring: AttentionParams) -> Tensor:
        count, heads, dim = queries.shape
        end = start + count
        pages = self.tables[slot, : -(-end // self.store.page_size)]
        keys, values = (
            store[pages].transpose(1, 2).reshape(-1, store.shape[1], dim)[:end].transpose(0, 1)
            for store in (self.store.keys[layer], self.store.values[layer])
        )
        keys, values = (each.repeat_interleave(heads // len(each), dim=0) for each in (keys, values))
        at = torch.arange(end)
        visible = at <= at[start:, None]
        if scoring.window is not None:
            visible &= at > at[start:, None] - scoring.window
        hidden = torch.where(visible, 0.0, -torch.inf)
        scores = scoring.scores(queries.transpose(0, 1) @ keys.transpose(1, 2), hidden)
        return (scores.softmax(-1) @ values).transpose(0, 1)


def normed_and_turned(heads: Tensor, weight: Tensor | None, norm_rope: NormRope) -> Tensor:
    """Heads [rows, heads, dim] after their norm and rotary embedding, as complex numbers have it, in their own type."""
    if weight is not None:
        heads = torch.nn.functional.rms_norm(heads, weight.shape, weight.to(heads), norm_rope.epsilon)
    size = norm_rope.cosines.shape[-1]
    turned, rest = heads[..., :size], heads[..., size:]
    pairs = turned.unflatten(-1, (-1, 2)) if norm_rope.interleaved else turned.unflatten(-1, (2, -1)).transpose(-1, -2)
    cosines, sines = (each[:, None, : size // 2].to(heads) for each in (norm_rope.cosines, norm_rope.sines))
    pairs = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.complex(cosines, sines))
    turned = (pairs if norm_rope.interleaved else pairs.transpose(-1, -2)).flatten(-2)
    return torch.cat((turned, rest), dim=-1)


def plain_executor(loaded: LoadedModel, store: KVCache, limits: EngineLimits) -> DeviceExecutor:
    return DeviceExecutor(loaded, store, limits, PlainAttention)


def late_engine(loaded: LoadedModel, clock: Callable[[], float] = lambda: 0.0, **limits: Any) -> ContinuousEngine:
    """The engine as on a GPU, one step late, with plain attention on the CPU."""
    config = ContinuousConfig(**{"page_size": 8, "kv_memory_gib": 0.01, **limits})
    return ContinuousEngine(loaded, config, clock, plain_executor)
