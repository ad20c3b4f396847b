"""A step's work as numbers, uploaded from the host to the device in one copy.

rows (token, slot, slot written to, position) │ blocks of chunks │ items and offsets of splits │ wanted rows and their
slots │ changes of the tables of pages

How many there are of each is the step's shape. A captured step has one of few shapes, so it is filled up with numbers
that mean nobody: rows of the padding slot, whose pages are the scratch page; blocks and items of nothing; wanted rows
whose token goes to the padding slot; changes that put the scratch page where it is.
"""

import itertools
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.cuda.kernels.prefill import cut_blocks
from pelton.workers.engine.cuda.kernels.splits import SPLIT_FIELDS, Splits, most_splits, plan_splits
from pelton.workers.engine.cuda.slots import Slots
from pelton.workers.engine.cuda.step_shape import FIELDS, StepShape, aligned
from pelton.workers.engine.scheduling.chunk import ScheduledChunk

Ints = NDArray[np.int64]

ON_DEVICE = -1
"""In place of a token that the host has not seen: the newest of its slot."""

TOKENS, SLOTS, WRITES, POSITIONS = range(FIELDS)


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

    def inputs(self, newest: Tensor) -> Tensor:
        """The tokens to compute, int64 [rows]."""
        return torch.where(self.tokens == ON_DEVICE, newest[self.slots], self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class StepTensors:
    """The numbers of a step where they lie on the device.

    `wanted` int64 [n] are the rows with logits (None: all), `targets` [n] the slots that their tokens go to; `places`
    and `pages` [changes] are entries of the flattened tables.
    """

    rows: Rows
    blocks: Tensor | None
    splits: Splits | None
    wanted: Tensor | None
    targets: Tensor
    places: Tensor
    pages: Tensor

    @classmethod
    def at(cls, numbers: Tensor, shape: StepShape) -> "StepTensors":
        """Those that begin `numbers`, as `StepPacker` put them there."""
        rows, blocks, items, offsets, wanted, changes = numbers[: sum(shape.parts)].split_with_sizes(shape.parts)
        packed = Rows(*rows.view(FIELDS, shape.rows).unbind(0))
        places, pages = changes.view(2, shape.changes).unbind(0)
        chosen, targets = (None, packed.slots) if shape.wanted is None else wanted.view(2, shape.wanted).unbind(0)
        return cls(
            packed,
            blocks.view(-1, FIELDS) if shape.chunked else None,
            Splits(items.view(-1, SPLIT_FIELDS), offsets) if shape.singles else None,
            chosen,
            targets,
            places,
            pages,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PackedStep:
    """A step's numbers, and `early`, those changes of the tables that its shape has no room for, [n, 2]."""

    shape: StepShape
    numbers: Ints
    early: Ints


class StepPacker:
    """Turns works into numbers for `slots`; a program of the prefill kernel takes `block_tokens`."""

    def __init__(self, slots: Slots, page_size: int, kv_heads: int, block_tokens: int) -> None:
        self._slots = slots
        self._page_size = page_size
        self._kv_heads = kv_heads
        self._block_tokens = block_tokens

    def needed(self, works: Items[ScheduledChunk]) -> StepShape:
        """What a captured step with chunks has to have room for."""
        counts = [work.count for work in works]
        chunks = [count for count in counts if count > 1]
        blocks = sum(-(-count // self._block_tokens) for count in chunks)
        wanted = sum(work.completes for work in works)
        return StepShape(len(counts) - len(chunks), sum(chunks), blocks=blocks, wanted=wanted)

    def pack(self, works: Items[ScheduledChunk], bucket: StepShape | None) -> PackedStep:
        """Numbers for works, those of one token first, in a captured shape or else in one of their own."""
        needed = self.needed(works)
        singles, total = (bucket.singles, bucket.rows) if bucket else (needed.singles, aligned(needed.rows))
        rows = pack_rows(works, self._slots, singles, total)
        blocks = chunk_blocks(works, self._slots, singles, self._block_tokens)
        wanted = self._wanted(works, singles)
        changes = self._slots.changes()
        items, offsets = plan_splits(rows[POSITIONS, :singles], self._page_size, most_splits(singles, self._kv_heads))
        shape = bucket or StepShape(singles, total - singles, len(items), len(blocks), len(wanted), len(changes))
        late = max(0, len(changes) - shape.changes)
        parts = (rows, blocks, items, offsets, wanted, changes[late:])
        return PackedStep(shape, self._joined(shape, *parts), changes[:late])

    def padding(self, shape: StepShape) -> PackedStep:
        """A captured shape's numbers with nobody's work."""
        return self.pack((), shape)

    def largest(self, tokens: int, rows: int) -> PackedStep:
        """Nobody's chunks, as long as there can be, with so many tokens in all, of which `rows` have logits."""
        longest, total = self._slots.width * self._page_size, aligned(tokens)
        packed = pack_rows((), self._slots, 0, total)
        packed[POSITIONS] = np.arange(total) % longest
        chunks = [(self._slots.padding_slot, row, 0, min(longest, tokens - row)) for row in range(0, tokens, longest)]
        blocks = cut_blocks(np.array(chunks, dtype=np.int64), self._block_tokens)
        shape = StepShape(0, total, blocks=len(blocks), wanted=rows)
        wanted = np.stack((np.arange(rows), np.full(rows, self._slots.padding_slot)), axis=1)
        nothing = np.zeros((0, 2), dtype=np.int64)
        return PackedStep(
            shape, self._joined(shape, packed, blocks, nothing, np.zeros(1, dtype=np.int64), wanted, nothing), nothing
        )

    def _wanted(self, works: Items[ScheduledChunk], singles: int) -> Ints:
        """The last rows of works that complete, and their slots, [n, 2]."""
        chunks = [work for work in works if work.count > 1]
        ends = [*range(1, len(works) - len(chunks) + 1)]
        ends += itertools.islice(itertools.accumulate((work.count for work in chunks), initial=singles), 1, None)
        found = [
            (end - 1, self._slots.of(work.sequence)) for end, work in zip(ends, works, strict=True) if work.completes
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _joined(self, shape: StepShape, *parts: Ints) -> Ints:
        """All numbers, each kind filled up to what the shape has of it."""
        rows, blocks, items, offsets, wanted, changes = parts
        nothing = np.zeros((1, FIELDS), dtype=np.int64)
        pieces = [
            rows.reshape(-1),
            *_filled(blocks, nothing, shape.blocks),
            *_filled(items, nothing, shape.items),
            offsets,
        ]
        if shape.wanted is not None:
            nobody = np.array([[0, self._slots.padding_slot]])
            pieces.append(np.concatenate(_filled(wanted, nobody, shape.wanted)).reshape(-1, 2).T.reshape(-1))
        same = np.array([self._slots.padding_change])
        pieces.append(np.concatenate(_filled(changes, same, shape.changes)).reshape(-1, 2).T.reshape(-1))
        return np.concatenate(pieces).astype(np.int64, copy=False)


def _filled(numbers: Ints, padding: Ints, count: int) -> tuple[Ints, Ints]:
    """Numbers [n, fields] and as much padding [1, fields] behind them as makes `count`, flat."""
    return numbers.reshape(-1), np.repeat(padding, count - len(numbers), axis=0).reshape(-1)


def pack_rows(works: Items[ScheduledChunk], slots: Slots, singles: int, rows: int) -> Ints:
    """Tokens, slots, writes and positions of `works`, [4, rows]: those of one token from row 0 on, the others from row
    `singles` on, and padding behind both.
    """
    packed = np.empty((FIELDS, rows), dtype=np.int64)
    packed[TOKENS] = packed[POSITIONS] = 0
    packed[SLOTS] = packed[WRITES] = slots.padding_slot
    count = sum(work.count == 1 for work in works)
    if count:
        # Nothing is done row by row but what must be: there may be hundreds of them in each step.
        packed[:, :count] = np.array([_single(work, slots) for work in works[:count]], dtype=np.int64).T
    row = singles
    for work in works[count:]:
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


def chunk_blocks(works: Items[ScheduledChunk], slots: Slots, singles: int, tokens: int) -> Ints:
    """What `prefill_attention` takes for those of `works` that have several tokens, from row `singles` on, [n, 4].

    Padding has no blocks. What its rows compute is anything, which no other row reads.
    """
    chunks = [work for work in works if work.count > 1]
    starts = itertools.accumulate((work.count for work in chunks), initial=singles)
    told = [(slots.of(work.sequence), row, work.start, work.count) for work, row in zip(chunks, starts, strict=False)]
    return cut_blocks(np.array(told, dtype=np.int64).reshape(-1, FIELDS), tokens)
