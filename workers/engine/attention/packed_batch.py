"""One step's work as tensors: the packed rows, where their keys and values go, and which rows need logits."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.scheduling.chunk import ScheduledChunk

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowSpan:
    """Consecutive rows of one sequence: `count` tokens from position `start`, and all pages up to their end or beyond.

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
        """Pack `works`; the spans of one row go to the front, otherwise the order stays.

        A draft is a decode of its own, which sees the keys of the drafts before it.
        """
        ordered = sorted(works, key=lambda work: work.count > 1)
        spans: list[RowSpan] = []
        ends: dict[int, int] = {}
        row = 0
        for work in ordered:
            ends[id(work)] = row + work.rows
            spans += _spans(work, row, store)
            row += work.rows
        tokens = np.concatenate([work.tokens for work in ordered])
        wanted = [np.arange(ends[id(work)] - work.wanted, ends[id(work)]) for work in works]
        logit_rows = np.concatenate(wanted)
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


def _spans(work: ScheduledChunk, row: int, store: KVCache) -> list[RowSpan]:
    """A work's rows from `row` on: one span, or as many as there are tokens where drafts are among them."""
    pages = np.array(work.sequence.pages[: -(-(work.start + work.rows) // store.page_size)], dtype=np.int64)
    if not work.drafts:
        return [RowSpan(row, work.start, work.count, pages, work.stored)]
    places = range(work.start, work.start + work.rows)
    # All of them look at the same pages, so that these are read once for all (`page_groups.py`).
    return [RowSpan(row + at - work.start, at, 1, pages) for at in places]


def _written(span: RowSpan, store: KVCache) -> Ints:
    """The pages that the keys and values of a span's tokens go to, [count]."""
    if span.stored:
        return np.full(span.count, store.null_page, dtype=np.int64)
    return span.pages[np.arange(span.start, span.end) // store.page_size]
