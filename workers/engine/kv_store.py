"""The tensors behind the pages: keys and values of every layer."""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token leaves behind: `layers` x `kv_heads` keys and values of `head_dim` numbers each."""

    layers: int
    kv_heads: int
    head_dim: int

    def page_bytes(self, page_size: int, dtype: torch.dtype) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * page_size * dtype.itemsize


class KvStore:
    """Keys and values as [pages, kv_heads, page_size, head_dim], one such pair per layer.

    There is one page more than the pool knows: `scratch` takes what rows of padding write. Memory is taken when pages
    are first written, where the system allows it. A layer's keys and values lie behind each other, so that one call
    moves both.
    """

    def __init__(
        self, shape: KvShape, num_pages: int, page_size: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self.device = device
        self.scratch = num_pages
        size = (2 * (num_pages + 1), shape.kv_heads, page_size, shape.head_dim)
        self._layers = [_zeros(size, dtype, device) for _ in range(shape.layers)]
        self.keys, self.values = zip(*(layer.chunk(2) for layer in self._layers), strict=True)
        self._copied: Tensor | None = None

    def both(self, pages: Tensor) -> Tensor:
        """What `gather` takes for `pages`, int64 [n]: where their keys lie and then where their values do."""
        return torch.cat((pages, pages + self.num_pages + 1))

    def places(self, pages: Tensor, slots: Tensor) -> Tensor:
        """Where `write` puts tokens, int64 [2 x tokens x kv_heads], from their pages and slots, int64 [tokens]."""
        return self._places(self.both(pages), slots)

    def copied_places(self, pages: Tensor, slots: Tensor, copies: int) -> Tensor:
        """The same for `amend`: `pages` count among the `copies` that were gathered; -1 is none of them."""
        both = torch.cat((pages, pages + copies))
        return self._places(torch.where(pages.repeat(2) < 0, 2 * copies, both), slots)

    def write(self, layer: int, tokens: Tensor, places: Tensor) -> None:
        """Store [2 x tokens, kv_heads, head_dim], keys and then values, at `places`."""
        self._put(self._layers[layer], tokens, places)

    def gather(self, layer: int, both: Tensor) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values in n pages: each [n, kv_heads, page_size, head_dim].

        They lie in a buffer that the next call overwrites, with a page behind them that nobody reads. On a CPU a copy
        in order and a product out of the cache are faster together than a product that waits for memory, and fresh
        memory each time would cost more than both.
        """
        if self._copied is None or len(both) >= len(self._copied):
            room = 1 << len(both).bit_length()
            self._copied = self._layers[layer].new_empty((room, *self._layers[layer].shape[1:]))
        keys, values = torch.index_select(self._layers[layer], 0, both, out=self._copied[: len(both)]).chunk(2)
        return keys, values

    def amend(self, tokens: Tensor, places: Tensor) -> None:
        """Put keys and values, as for `write`, at `places` among the pages that were gathered last."""
        if self._copied is None:
            raise ValueError("nothing has been gathered")
        self._put(self._copied, tokens, places)

    def scrub(self, pages: Sequence[int]) -> None:
        """Wipe pages that may hold NaN, before somebody else gets them and masks only what is beyond its end."""
        index = self.both(torch.tensor(pages, dtype=torch.int64, device=self.device))
        for layer in self._layers:
            layer.index_fill_(0, index, 0)

    def _places(self, both: Tensor, slots: Tensor) -> Tensor:
        heads = torch.arange(self._layers[0].shape[1], device=self.device)
        return ((both[:, None] * len(heads) + heads) * self.page_size + slots.repeat(2)[:, None]).reshape(-1)

    @staticmethod
    def _put(pages: Tensor, tokens: Tensor, places: Tensor) -> None:
        dim = tokens.shape[-1]
        pages.view(-1, dim).index_copy_(0, places, tokens.view(-1, dim))


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, not whatever memory held: a masked NaN is still a NaN once it is multiplied by its weight of zero."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    # PyTorch writes its zeros at once; those of a mapping come from the system when a page of memory is first touched.
    memory = mmap.mmap(-1, math.prod(size) * dtype.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(size)
