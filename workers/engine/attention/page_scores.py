"""Where a step's scores lie, so that a query head's scores of all its pages are beside each other for one softmax.

A line has the scores of one query head and one page. A query head's lines follow each other, as many as its row sees
pages; within a block of rows they are filled up to those of the longest with lines that get no weight.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pelton.workers.engine.attention.packed_batch import Ints

# A block's longest row has at most so many times the pages of its shortest: with more, much would be computed in vain;
# with fewer, there would be more blocks, each with a call of its own.
_MAX_FILLED = 4
# A softmax sums in vectors of a processor's width, up to so many numbers. If some were left over, the last bits of a
# row's weights would depend on how long the longest row is.
_WHOLE = 32


@dataclass(frozen=True, slots=True)
class _Block:
    first: int
    query_heads: int
    width: int

    def of(self, lines: Tensor) -> Tensor:
        """Its part of `lines`, [query_heads, width x page_size]."""
        return lines.narrow(0, self.first, self.query_heads * self.width).view(self.query_heads, -1)


class ScoreTable:
    """The lines of rows that see the pages from `begins` to before `ends` of their texts, int64 [rows]."""

    def __init__(self, begins: Ints, ends: Ints, heads: int, page_size: int) -> None:
        self._begins = np.append(begins, 0)
        self._heads = heads
        self._first = np.zeros_like(self._begins)
        self._width = np.zeros_like(self._begins)
        self._blocks: list[_Block] = []
        self._scores: Tensor | None = None
        self._weights: Tensor | None = None
        pages = ends - begins
        whole = _WHOLE // math.gcd(_WHOLE, page_size)
        padding_line, longest_first = 0, np.argsort(-pages, kind="stable")
        while len(longest_first):
            longest = int(pages[longest_first[0]])
            count = int((pages[longest_first] * _MAX_FILLED >= longest).sum())
            rows, longest_first = longest_first[:count], longest_first[count:]
            block = _Block(padding_line, count * heads, -(-longest // whole) * whole)
            self._first[rows] = block.first + np.arange(count) * heads * block.width
            self._width[rows] = block.width
            self._blocks.append(block)
            padding_line += block.query_heads * block.width
        self._padding_line = padding_line

    def of(self, rows: Ints, places: Ints) -> Ints:
        """The lines of `rows` [pages, n] for pages [pages] at these places of their texts, [pages, n, heads].

        The row past the last is nobody, with one line for all.
        """
        lines = self._first[rows] + places[:, None] - self._begins[rows]
        by_head = lines[..., None] + self._width[rows][..., None] * np.arange(self._heads)
        return np.where(rows[..., None] < len(self._begins) - 1, by_head, self._padding_line)

    def put(self, scores: Tensor, lines: Tensor) -> None:
        """Set the scores of `lines` to [lines, page_size]; they have to be the same lines for every layer."""
        if self._scores is None:
            size = (self._padding_line + 1, scores.shape[-1])
            self._scores = scores.new_full(size, torch.finfo(scores.dtype).min)
            self._weights = torch.zeros_like(self._scores)
        self._scores.index_copy_(0, lines, scores)

    def weights(self) -> Tensor:
        """What each slot weighs among all that its query head sees, [lines, page_size]; the next call overwrites it.

        Raises RuntimeError before any scores were put.
        """
        if self._scores is None or self._weights is None:
            raise RuntimeError("no scores were put into the lines of a step")
        for block in self._blocks:
            torch.softmax(block.of(self._scores), dim=-1, out=block.of(self._weights))
        return self._weights
