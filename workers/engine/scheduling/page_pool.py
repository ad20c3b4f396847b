"""KV pages and the prefix cache: who holds which page, and which pages hold a text that may come again.

Pure bookkeeping over page numbers; the tensors behind them are elsewhere. A page is in one of three states: free, held
(by one or more sequences, counted), or idle: held by nobody, but remembered by its digest until its room is needed.
"""

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class PagePool:
    """A fixed number of pages. The lowest free one is given out first, so that what is held lies close together."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        if num_pages < 1 or page_size < 1:
            raise ValueError(f"a pool needs at least one page of one token, not {num_pages} of {page_size}")
        self.num_pages = num_pages
        self.page_size = page_size
        self._free = list(range(num_pages))
        self._holders = [0] * num_pages
        self._digest_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Pages that `allocate` can give: the free and the idle ones."""
        return len(self._free) + len(self._idle)

    @property
    def idle(self) -> int:
        """Pages that nobody holds and that the prefix cache could still serve."""
        return len(self._idle)

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_size)

    def allocate(self, count: int) -> list[int] | None:
        """`count` pages held once, or None when there are not so many; idle ones are forgotten, longest idle first."""
        if count > self.available:
            return None
        return [self._take() for _ in range(count)]

    def retain(self, page: int) -> None:
        """Hold a page once more; it must be held or idle."""
        self._holders[page] += 1
        self._idle.pop(page, None)

    def release(self, pages: Sequence[int]) -> None:
        """Let go of a sequence's pages. The last ones go idle first: a prefix is of use without what followed it."""
        for page in reversed(pages):
            if self._holders[page] < 1:
                raise ValueError(f"page {page} is released more often than it was held")
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            if page in self._digest_of:
                self._idle[page] = None
            else:
                heapq.heappush(self._free, page)

    def register(self, page: int, digest: bytes) -> None:
        """Remember what a held page contains. The first page of a digest stays the one that is found."""
        if digest not in self._page_of and page not in self._digest_of:
            self._page_of[digest] = page
            self._digest_of[page] = digest

    def is_held(self, page: int) -> bool:
        return self._holders[page] > 0

    def find(self, digest: bytes) -> int | None:
        return self._page_of.get(digest)

    def forget(self, pages: Iterable[int]) -> None:
        """Serve these pages to nobody any more, because what they contain cannot be trusted."""
        for page in pages:
            digest = self._digest_of.pop(page, None)
            if digest is not None:
                del self._page_of[digest]
            if page in self._idle:
                del self._idle[page]
                heapq.heappush(self._free, page)

    def _take(self) -> int:
        if self._free:
            page = heapq.heappop(self._free)
        else:
            page, _ = self._idle.popitem(last=False)
            del self._page_of[self._digest_of.pop(page)]
        self._holders[page] = 1
        return page


def page_digests(
    tokens: NDArray[np.int64], page_size: int, salt: bytes, known: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """The digests of the full pages of `tokens` that follow those already `known`.

    Each is SHA-256 over the one before it and its own tokens, the first over `salt`: equal digests mean equal text
    from the very beginning under the same salt, and nobody can craft another text to the same digest.
    """
    digest = known[-1] if known else hashlib.sha256(salt).digest()
    for start in range(len(known) * page_size, len(tokens) // page_size * page_size, page_size):
        digest = hashlib.sha256(digest + tokens[start : start + page_size].tobytes()).digest()
        yield digest
