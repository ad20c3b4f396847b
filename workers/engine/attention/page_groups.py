"""Pages with the same readers, and which such groups are multiplied together. Pure: numbers, no tensors.

Where a text goes on in several rows (requests with a common beginning, a request's newest token and the drafts behind
it), each of its pages is read once for all of them, and in one product with its neighbours.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# What a product more costs beside its arithmetic, as so many pages that one row reads.
_A_PRODUCT = 32


@dataclass(frozen=True, slots=True, eq=False)
class PageGroup:
    """The rows `readers` look at the same `pages`, which are at `places` of their texts; int64 [readers], [pages]."""

    pages: Ints
    places: Ints
    readers: Ints


@dataclass(frozen=True, slots=True, eq=False)
class PageGrid:
    """Groups filled up to the same number of pages and readers, int64: `pages` and `places` [groups, pages].

    `readers` [groups, pages, readers]: `nobody` where there is none.
    """

    pages: Ints
    places: Ints
    readers: Ints

    @classmethod
    def of(cls, groups: Items[PageGroup], nobody: int) -> "PageGrid":
        """Fill up with a group's first page, for nobody: NaN in it, times a weight of zero, is its readers' own."""
        width = max(len(each.pages) for each in groups)
        depth = max(len(each.readers) for each in groups)
        pages, places = (np.zeros((len(groups), width), dtype=np.int64) for _ in range(2))
        readers = np.full((len(groups), width, depth), nobody)
        for index, each in enumerate(groups):
            count = len(each.pages)
            pages[index], places[index] = each.pages[0], each.places[0]
            pages[index, :count], places[index, :count] = each.pages, each.places
            readers[index, :count, : len(each.readers)] = each.readers
        return cls(pages, places, readers)


def grouped(pages: Ints, readers: Ints, places: Ints) -> list[PageGroup]:
    """Groups of all pages with the same readers, from the pairs of a page and a reader, int64 [pairs]."""
    distinct, first, which = np.unique(pages, return_index=True, return_inverse=True)
    read = np.zeros((len(distinct), readers.max() + 1), dtype=bool)
    read[which, readers] = True
    kinds, kind = np.unique(np.packbits(read, axis=1), axis=0, return_inverse=True)
    alike = (np.flatnonzero(kind.reshape(-1) == each) for each in range(len(kinds)))
    return [PageGroup(distinct[own], places[first[own]], np.flatnonzero(read[own[0]])) for own in alike]


def batched(groups: Items[PageGroup]) -> Iterator[list[PageGroup]]:
    """Groups for one product each time: more, as long as filling them up costs less than a product of their own."""
    batch: list[PageGroup] = []
    depth = width = spent = 0
    for group in sorted(groups, key=lambda each: (len(each.readers), len(each.pages)), reverse=True):
        alone = len(group.readers) * len(group.pages)
        depth, width = max(depth, len(group.readers)), max(width, len(group.pages))
        filled = (len(batch) + 1) * depth * width
        if batch and filled > spent + alone + _A_PRODUCT:
            yield batch
            batch, depth, width, filled = [], len(group.readers), len(group.pages), alone
        batch.append(group)
        spent = filled
    if batch:
        yield batch
