"""How the pages of many sequences are shared out among the programs of the decode kernel, so that none takes long.

By length, not by number: where one sequence has a long text and the others short ones, it gets most of the programs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]

# Programs that keep a card's memory busy, with enough of them over to even out what is left of each sequence.
_PROGRAMS = 4096

# A sequence's on the average, so that a graph for few of them is not all programs with nothing to do.
_MAX_OF_ONE = 32

SPLIT_FIELDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """`items` int64 [n, 4]: a row, its pages from one to before another, and where the result is put to be merged.

    That is -1 where a row has only one item, whose result is final. An item without pages is padding. `offsets` int64
    [rows + 1]: a row's results to be merged are those from its own offset to before the next one's.
    """

    items: Tensor
    offsets: Tensor


def most_splits(rows: int, kv_heads: int) -> int:
    """How many items `rows` sequences are cut into at most: enough for the card, and some over for the long ones."""
    return max(min(-(-_PROGRAMS // kv_heads), _MAX_OF_ONE * rows), rows + -(-rows // 2))


def plan_splits(positions: Ints, page_size: int, most: int) -> tuple[Ints, Ints]:
    """Items [n, 4] and offsets [rows + 1] of `Splits` for the tokens at `positions` [rows], n not above `most` >= rows.

    As many pages for each item as it takes to have no more than `most` of them; the longest come first.
    """
    pages = positions // page_size + 1
    counts = -(-pages // _share(pages, most))
    # The same number of items for a row, but evenly filled.
    own = -(-pages // counts)
    counts = -(-pages // own)
    row = np.repeat(np.arange(len(pages)), counts)
    before = np.cumsum(counts) - counts
    begin = (np.arange(len(row)) - before[row]) * own[row]
    end = np.minimum(begin + own[row], pages[row])
    merged = np.where(counts > 1, counts, 0)
    offsets = np.concatenate(([0], np.cumsum(merged)))
    part = np.where(merged[row] > 0, offsets[row] + np.arange(len(row)) - before[row], -1)
    items = np.stack((row, begin, end, part), axis=1)
    return items[np.argsort(begin - end, kind="stable")], offsets


def _share(pages: Ints, most: int) -> int:
    """The least number of pages for each item with which there are at most `most` items."""
    low, high = max(1, -(-int(pages.sum()) // max(1, most))), int(pages.max(initial=1))
    while low < high:
        middle = (low + high) // 2
        if int((-(-pages // middle)).sum()) <= most:
            high = middle
        else:
            low = middle + 1
    return low
