"""A step's work as rows of numbers, uploaded from the host to the device in one copy."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.cuda.kernels.prefill import cut_blocks
from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.scheduling.chunk import ScheduledChunk

Ints = NDArray[np.int64]

ON_DEVICE = -1
"""In place of a token that the host has not seen: the newest of its slot."""

TOKENS, SLOTS, WRITES, POSITIONS = range(4)
FIELDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Packed rows, int64 [rows] each, first those of one-token works, then chunks.

    `tokens` may be `ON_DEVICE`; `slots` is whose pages a row reads, `writes` the slot whose pages its keys and values
    go to: padding's, where they are in the pages already.
    """

    tokens: Tensor
    slots: Tensor
    writes: Tensor
    positions: Tensor

    @classmethod
    def at(cls, numbers: Tensor, rows: int) -> "Rows":
        """The rows that begin `numbers`, as `pack_rows` put them there."""
        return cls(*numbers[: FIELDS * rows].view(FIELDS, rows).unbind(0))

    def inputs(self, newest: Tensor) -> Tensor:
        """The tokens to compute, int64 [rows]."""
        return torch.where(self.tokens == ON_DEVICE, newest[self.slots], self.tokens)


def pack_rows(works: Items[ScheduledChunk], slots: Slots, rows: int) -> Ints:
    """Tokens, slots, writes and positions of `works`, [4, rows], those of one token first; then padding."""
    packed = np.empty((FIELDS, rows), dtype=np.int64)
    packed[TOKENS] = packed[POSITIONS] = 0
    packed[SLOTS] = packed[WRITES] = slots.padding_slot
    row = singles = sum(work.count == 1 for work in works)
    if singles:
        # Nothing is done row by row but what must be: there may be hundreds of them in each step.
        packed[:, :singles] = np.array([_single(work, slots) for work in works[:singles]], dtype=np.int64).T
    for work in works[singles:]:
        here = slice(row, row + work.count)
        packed[TOKENS, here] = work.sequence.tokens[work.start : work.start + work.count]
        packed[SLOTS, here] = slot = slots.of(work.sequence)
        packed[WRITES, here] = slots.padding_slot if work.stored else slot
        packed[POSITIONS, here] = np.arange(work.start, work.start + work.count)
        row += work.count
    return packed


def _single(work: ScheduledChunk, slots: Slots) -> tuple[int, int, int, int]:
    sequence, start = work.sequence, work.start
    slot = slots.of(sequence)
    token = sequence.tokens[start] if start < sequence.known else ON_DEVICE
    return token, slot, slots.padding_slot if work.stored else slot, start


def chunk_blocks(works: Items[ScheduledChunk], slots: Slots, rows: int, tokens: int) -> Ints:
    """What `prefill_attention` takes for those of `works` that have several tokens, and for padding up to `rows`."""
    chunks: list[tuple[int, int, int, int]] = []
    row = 0
    for work in works:
        if work.count > 1:
            chunks.append((slots.of(work.sequence), row, work.start, work.count))
        row += work.count
    if row < rows:
        chunks.append((slots.padding_slot, row, 0, rows - row))
    return cut_blocks(np.array(chunks, dtype=np.int64), tokens)
