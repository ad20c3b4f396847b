"""One forward pass over a step's rows: from work to float32 logits. The only part that knows the model's face."""

from collections.abc import Sequence as Items
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.paged import ATTENTION, StepAttention, TorchAttention, register
from pelton.workers.engine.scheduling.scheduler import ScheduledChunk


class Runner(Protocol):
    """Computes keys, values and logits; has no memory but the KV store."""

    def logits(self, works: Items[ScheduledChunk]) -> Tensor:
        """Float32 [sampled, vocab], one row for each of the works that completes, in their order."""


class PackedRunner:
    """All rows in one pass: the fast way. Low-order bits depend on how many rows a pass has."""

    def __init__(self, model: Any, store: KVCache) -> None:
        self._model = model
        self._store = store
        register()
        model.set_attn_implementation(ATTENTION)

    def logits(self, works: Items[ScheduledChunk]) -> Tensor:
        batch = PackedBatch.of(works, self._store)
        return self.forward(batch, TorchAttention(batch, self._store))

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
        rows = [(work, position) for work in works for position in range(work.start, work.start + work.count)]
        found = [self._pass(rows[start : start + self.ROWS]) for start in range(0, len(rows), self.ROWS)]
        return torch.cat(found)

    def _pass(self, rows: Items[tuple[ScheduledChunk, int]]) -> Tensor:
        size = self._store.page_size
        spans = [
            RowSpan(row, position, 1, np.array(work.sequence.pages[: position // size + 1]), work.stored)
            for row, (work, position) in enumerate(rows)
        ]
        spans += [RowSpan(row, 0, 1, np.array([self._store.null_page])) for row in range(len(rows), self.ROWS)]
        tokens = np.zeros(self.ROWS, dtype=np.int64)
        tokens[: len(rows)] = [work.sequence.tokens[position] for work, position in rows]
        batch = PackedBatch.pack(tokens, spans, np.arange(self.ROWS), self._store)
        logits = self._packed.forward(batch, TorchAttention(batch, self._store, sharing=False))
        wanted = [row for row, (work, position) in enumerate(rows) if position + 1 == work.sequence.length]
        return logits[wanted]
