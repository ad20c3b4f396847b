"""How the texts of a step's decode rows are cut into parts for its threads, and which rows read a part together.

Pure: numbers, no tensors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pelton.workers.engine.attention.page_groups import Ints, grouped

# Parts are short enough that all threads have some, and long enough that putting them together is little work.
_TOKENS = 256

# So many query heads of a KV head read a part together: with their scores they stay in a core's nearest cache.
_QUERIES = 48


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """What rows see, int64 [rows]: from token `begins` to before `ends`; `pages` has each text's, whole."""

    pages: list[Ints]
    begins: Ints
    ends: Ints
    page_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Part i is `tokens[i]` tokens behind the first `skipped[i]` of its pages, read by some rows, each of them a look.

    The arrays are in the order in which a `DecodePlan` takes them; `first_...` have where each one's begin, and one
    more.
    """

    first_pages: Ints
    skipped: Ints
    tokens: Ints
    first_looks: Ints
    readers: Ints
    first_row_looks: Ints
    row_looks: Ints
    pages: Ints

    @property
    def arrays(self) -> tuple[Ints, ...]:
        return (
            self.first_pages, self.skipped, self.tokens, self.first_looks, self.readers, self.first_row_looks,
            self.row_looks, self.pages,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """`tokens` tokens behind the first `skipped` of `pages`, read by the rows `readers`."""

    pages: Ints
    skipped: int
    tokens: int
    readers: Ints

    def cut(self, page_size: int, at_once: int) -> Iterator["_Piece"]:
        """Into parts of a few pages and not too many readers."""
        for reader in range(0, len(self.readers), at_once):
            readers = self.readers[reader : reader + at_once]
            step = max(1, _TOKENS // page_size) * page_size
            begin, end = self.skipped, self.skipped + self.tokens
            for first in range(begin // step * step, end, step):
                start, stop = max(begin, first), min(end, first + step)
                pages = self.pages[first // page_size : -(-stop // page_size)]
                yield _Piece(pages, start - first, stop - start, readers)


def cut(texts: Texts, heads_per_kv_head: int, *, sharing: bool) -> Parts:
    """The parts of a step. With `sharing`, pages that several rows see whole are read once for all of these."""
    shared, rest = _shared(texts) if sharing else ([], _own(texts))
    at_once = max(1, _QUERIES // heads_per_kv_head)
    # The largest first, so that no thread begins one when the others have nothing left.
    pieces = [part for piece in (*shared, *rest) for part in piece.cut(texts.page_size, at_once)]
    readers = np.concatenate([piece.readers for piece in pieces])
    return Parts(
        first_pages=starts([len(piece.pages) for piece in pieces])[:-1],
        skipped=np.array([piece.skipped for piece in pieces]),
        tokens=np.array([piece.tokens for piece in pieces]),
        first_looks=starts([len(piece.readers) for piece in pieces]),
        readers=readers,
        first_row_looks=starts(np.bincount(readers, minlength=len(texts.pages))),
        row_looks=np.argsort(readers, kind="stable"),
        pages=np.concatenate([piece.pages for piece in pieces]),
    )


def _own(texts: Texts) -> list[_Piece]:
    """Each row reads its text by itself."""
    size = texts.page_size
    spans = zip(texts.pages, texts.begins.tolist(), texts.ends.tolist(), strict=True)
    return [
        _Piece(pages[begin // size :], begin % size, end - begin, np.array([row]))
        for row, (pages, begin, end) in enumerate(spans)
    ]


def _shared(texts: Texts) -> tuple[list[_Piece], list[_Piece]]:
    """What several rows see of the same pages, if all of them see these whole, and what is left of each row's text."""
    size = texts.page_size
    counts = [len(pages) for pages in texts.pages]
    pages, rows = np.concatenate(texts.pages), np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([np.arange(count) for count in counts])
    seen_from, seen_to = texts.begins[rows] - places * size, texts.ends[rows] - places * size
    seen = (seen_to > 0) & (seen_from < size)
    whole = (seen_from <= 0) & (seen_to >= size)
    looks = np.bincount(pages[seen], minlength=pages.max() + 1)
    together = (
        seen & (looks[pages] > 1) & (looks[pages] == np.bincount(pages[seen & whole], minlength=len(looks))[pages])
    )
    if not together.any():
        return [], _own(texts)
    groups = grouped(pages[together], rows[together], places[together])
    shared = [_Piece(group.pages, 0, len(group.pages) * size, group.readers) for group in groups]
    rest = []
    for row in range(len(counts)):
        mine = (rows == row) & seen & ~together
        if mine.any():
            visible = np.minimum(seen_to[mine], size) - np.maximum(seen_from[mine], 0)
            rest.append(_Piece(pages[mine], max(0, int(seen_from[mine][0])), int(visible.sum()), np.array([row])))
    return shared, rest


def starts(counts: Ints | list[int]) -> Ints:
    """Where each of some that follow each other begins, and where the last ends."""
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
