"""One forward pass over a step's rows: from work to float32 logits. The only part that knows the model's face."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.paged import ATTENTION, StepAttention, TorchAttention, register
from pelton.workers.engine.scheduling.chunk import ScheduledChunk


class Runner(Protocol):
    """Computes keys, values and logits; has no memory but the KV store."""

    def logits(self, works: Items[ScheduledChunk]) -> Tensor:
        """Float32 [sampled, vocab], in the order of the works as many rows as each wants."""


class PackedRunner:
    """All rows in one pass: the fast way. Low-order bits depend on how many rows a pass has."""

    def __init__(
        self, model: Any, store: KVCache, attention: Callable[[PackedBatch, KVCache], StepAttention] = TorchAttention
    ) -> None:
        self._model = model
        self._store = store
        self._attention = attention
        register()
        model.set_attn_implementation(ATTENTION)

    def logits(self, works: Items[ScheduledChunk]) -> Tensor:
        return self.compute(PackedBatch.of(works, self._store))

    def compute(self, batch: PackedBatch) -> Tensor:
        """Float32 [logit_rows, vocab]."""
        return self.forward(batch, self._attention(batch, self._store))

    def forward(self, batch: PackedBatch, attention: StepAttention) -> Tensor:
        output = self._model(
            input_ids=batch.tokens[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.logit_rows,
            step=attention,
        )
        logits: Tensor = output.logits[0].float()
        return logits


class InvariantRunner:
    """The same bits for a token whatever else is in the batch.

    Every pass has the same number of rows, filled up with padding, so that every matrix product has one shape; and
    every token, of a prompt too, attends by itself over its pages. Prompts cost several times what they cost packed.
    """

    ROWS = 16

    def __init__(self, packed: PackedRunner, store: KVCache) -> None:
        self._packed = packed
        self._store = store

    def logits(self, works: Items[ScheduledChunk]) -> Tensor:
        rows = [_Row(work, at, token) for work in works for at, token in enumerate(work.tokens.tolist())]
        found = [self._pass(rows[start : start + self.ROWS]) for start in range(0, len(rows), self.ROWS)]
        return torch.cat(found)

    def _pass(self, rows: Items["_Row"]) -> Tensor:
        size = self._store.page_size
        spans = [
            RowSpan(
                number, row.position, 1, np.array(row.work.sequence.pages[: row.position // size + 1]), row.work.stored
            )
            for number, row in enumerate(rows)
        ]
        spans += [RowSpan(number, 0, 1, np.array([self._store.null_page])) for number in range(len(rows), self.ROWS)]
        tokens = np.zeros(self.ROWS, dtype=np.int64)
        tokens[: len(rows)] = [row.token for row in rows]
        batch = PackedBatch.pack(tokens, spans, np.arange(self.ROWS), self._store)
        logits = self._packed.forward(batch, TorchAttention(batch, self._store, sharing=False))
        return logits[[number for number, row in enumerate(rows) if row.wanted]]


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One of a work's tokens, the `number`-th."""

    work: ScheduledChunk
    number: int
    token: int

    @property
    def position(self) -> int:
        return self.work.start + self.number

    @property
    def wanted(self) -> bool:
        return self.number >= self.work.rows - self.work.wanted
