"""All attention of one step by the Triton kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.decode import decode_attention
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.kernels.prefill import prefill_attention
from pelton.workers.engine.cuda.kernels.splits import Splits
from pelton.workers.engine.cuda.kernels.write import write_pages
from pelton.workers.engine.cuda.step_input import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How a step's rows lie: `singles` that are their sequences' only ones, then those that `blocks` [n, 4] cover.

    `splits` are those of the singles; None where there are none.
    """

    rows: Rows
    singles: int
    splits: Splits | None = None
    blocks: Tensor | None = None


class DeviceAttention(Protocol):
    """All attention of one step on a device."""

    def attend(  # noqa: PLR0913, PLR0917 (`StepAttention`'s, and one more)
        self,
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scoring: AttentionParams,
        norm_rope: NormRope | None = None,
    ) -> Tensor:
        """As a `StepAttention`; does `norm_rope` to queries and keys before."""


AttentionFactory = Callable[[Layout, Tensor, KVCache], DeviceAttention]
"""Attention from a layout, the tables of pages and the store."""


@dataclass(frozen=True, slots=True, eq=False)
class TritonAttention:
    """Writes a layer's keys and values and lets single rows and chunks attend to the pages, each by their kernels."""

    layout: Layout
    tables: Tensor
    store: KVCache

    def attend(  # noqa: PLR0913, PLR0917 (as above)
        self,
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scoring: AttentionParams,
        norm_rope: NormRope | None = None,
    ) -> Tensor:
        rows, singles, blocks = self.layout.rows, self.layout.singles, self.layout.blocks
        splits = self.layout.splits
        pages, absmax = (self.store.keys[layer], self.store.values[layer]), self.store.absmax(layer)
        queries, keys, values = (_dense_heads(each) for each in (queries, keys, values))
        out = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
        if splits is not None:
            decode_attention(
                queries[:singles], keys[:singles], values[:singles], *pages, self.tables,
                rows.slots[:singles], rows.writes[:singles], rows.positions[:singles], splits, out, scoring,
                absmax=absmax, norm_rope=norm_rope,
            )  # fmt: skip
        if blocks is not None:
            # Told where to begin, and not given a part: kernels are compiled anew for what is not aligned.
            queries = write_pages(
                queries, keys, values, *pages, self.tables, rows.writes, rows.positions, out,
                first=singles, absmax=absmax, norm_rope=norm_rope,
            )  # fmt: skip
            prefill_attention(queries, *pages, self.tables, blocks, out, scoring, absmax=absmax)
        return out


def _dense_heads(tensor: Tensor) -> Tensor:
    """The numbers of a head side by side, as the kernels read them; how rows and heads lie does not matter."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
