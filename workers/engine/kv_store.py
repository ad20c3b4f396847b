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
    are first written, where the system allows it.
    """

    def __init__(
        self, shape: KvShape, num_pages: int, page_size: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self.device = device
        self.scratch = num_pages
        size = (num_pages + 1, shape.kv_heads, page_size, shape.head_dim)
        self._copied: Tensor | None = None
        self.keys = [_zeros(size, dtype, device) for _ in range(shape.layers)]
        self.values = [_zeros(size, dtype, device) for _ in range(shape.layers)]

    def places(self, pages: Tensor, slots: Tensor) -> Tensor:
        """Where `write` puts tokens, int64 [kv_heads x tokens], from their pages and slots, int64 [tokens]."""
        heads = torch.arange(self.keys[0].shape[1], device=self.device)[:, None]
        return ((pages * len(heads) + heads) * self.page_size + slots).reshape(-1)

    def write(self, layer: int, keys: Tensor, values: Tensor, places: Tensor) -> None:
        """Store [tokens, kv_heads, head_dim] at `places`."""
        _put(self.keys[layer], keys, places)
        _put(self.values[layer], values, places)

    def gather(self, layer: int, pages: Tensor) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values in `pages`, int64 [n]: each [n, kv_heads, page_size, head_dim].

        They lie in a buffer that the next call overwrites, with a page behind them that nobody reads. On a CPU a copy
        in order and a product out of the cache are faster together than a product that waits for memory, and fresh
        memory each time would cost more than both.
        """
        if self._copied is None or len(pages) >= self._copied.shape[1]:
            room = 1 << len(pages).bit_length()
            self._copied = self.keys[layer].new_empty((2, room, *self.keys[layer].shape[1:]))
        keys, values = self._copied[0, : len(pages)], self._copied[1, : len(pages)]
        torch.index_select(self.keys[layer], 0, pages, out=keys)
        torch.index_select(self.values[layer], 0, pages, out=values)
        return keys, values

    def amend(self, keys: Tensor, values: Tensor, places: Tensor) -> None:
        """Put keys and values [tokens, kv_heads, head_dim] at `places` among the pages that were gathered last."""
        if self._copied is None:
            raise ValueError("nothing has been gathered")
        _put(self._copied[0], keys, places)
        _put(self._copied[1], values, places)

    def scrub(self, pages: Sequence[int]) -> None:
        """Wipe pages that may hold NaN, before somebody else gets them and masks only what is beyond its end."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.device)
        for tensor in (*self.keys, *self.values):
            tensor.index_fill_(0, index, 0)


def _put(pages: Tensor, tokens: Tensor, places: Tensor) -> None:
    dim = tokens.shape[-1]
    pages.view(-1, dim).index_copy_(0, places, tokens.transpose(0, 1).reshape(-1, dim))


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, not whatever memory held: a masked NaN is still a NaN once it is multiplied by its weight of zero."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    # PyTorch writes its zeros at once; those of a mapping come from the system when a page of memory is first touched.
    memory = mmap.mmap(-1, math.prod(size) * dtype.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(size)
