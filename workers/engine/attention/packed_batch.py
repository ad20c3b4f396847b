"""One step's work as tensors: the packed rows, where their keys and values go, and which rows need logits."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.scheduling.scheduler import ScheduledChunk

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowSpan:
    """Consecutive rows of one sequence: `count` tokens from position `start`, and all pages up to their end.

    What is `stored` already is written nowhere.
    """

    row: int
    start: int
    count: int
    pages: Ints
    stored: bool = False

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """The rows of a step, int64: `tokens`, `positions`, `write_pages`, `write_slots` [rows]; `logit_rows` [sampled].

    `decodes` are the spans of one row, which come first; `chunks` are the longer ones.
    """

    tokens: Tensor
    positions: Tensor
    write_pages: Tensor
    write_slots: Tensor
    logit_rows: Tensor
    decodes: tuple[RowSpan, ...]
    chunks: tuple[RowSpan, ...]

    @classmethod
    def of(cls, works: Items[ScheduledChunk], store: KVCache) -> "PackedBatch":
        """Pack `works`; the spans of one row go to the front, otherwise the order stays."""
        ordered = sorted(works, key=lambda work: work.count > 1)
        spans: list[RowSpan] = []
        row = 0
        for work in ordered:
            pages = np.array(work.sequence.pages[: -(-(work.start + work.count) // store.page_size)], dtype=np.int64)
            spans.append(RowSpan(row, work.start, work.count, pages, work.stored))
            row += work.count
        tokens = np.concatenate([work.sequence.tokens[work.start : work.start + work.count] for work in ordered])
        logit_row = {id(work): span.row + span.count - 1 for work, span in zip(ordered, spans, strict=True)}
        logit_rows = np.array([logit_row[id(work)] for work in works if work.completes], dtype=np.int64)
        return cls.pack(tokens, spans, logit_rows, store)

    @classmethod
    def pack(cls, tokens: Ints, spans: Items[RowSpan], logit_rows: Ints, store: KVCache) -> "PackedBatch":
        """From rows that lie as `spans` say."""
        positions = np.concatenate([np.arange(span.start, span.end) for span in spans])
        pages = np.concatenate([_written(span, store) for span in spans])
        stacked = torch.from_numpy(np.stack((tokens, positions, pages, positions % store.page_size))).to(store.device)
        return cls(
            tokens=stacked[0],
            positions=stacked[1],
            write_pages=stacked[2],
            write_slots=stacked[3],
            logit_rows=torch.from_numpy(logit_rows).to(store.device),
            decodes=tuple(span for span in spans if span.count == 1),
            chunks=tuple(span for span in spans if span.count > 1),
        )


def _written(span: RowSpan, store: KVCache) -> Ints:
    """The pages that the keys and values of a span's tokens go to, [count]."""
    if span.stored:
        return np.full(span.count, store.null_page, dtype=np.int64)
    return span.pages[np.arange(span.start, span.end) // store.page_size]
