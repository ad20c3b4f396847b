"""The tensors behind the pages: keys and values of every layer."""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pelton.workers.engine.native.kernels import kernels_for


@dataclass(frozen=True, slots=True)
class KVCacheSpec:
    """What one token leaves behind: `layers` x `kv_heads` keys and values of `head_dim` numbers each.

    `quantised` is the type of one byte in which the numbers are stored; None: in the model's own.
    """

    layers: int
    kv_heads: int
    head_dim: int
    quantised: torch.dtype | None = None

    def page_bytes(self, page_size: int, dtype: torch.dtype) -> int:
        """Bytes of a page for a model of `dtype`, with the scales where numbers are quantised."""
        if self.quantised is None:
            vector = self.head_dim * dtype.itemsize
        else:
            vector = self.head_dim * self.quantised.itemsize + torch.float32.itemsize
        return 2 * self.layers * self.kv_heads * page_size * vector


class KVCache:
    """Keys and values as [pages, kv_heads, page_size, head_dim], one such pair per layer.

    There is one page more than the pool knows: `null_page` takes what rows of padding write. Memory is taken when pages
    are first written, where the system allows it. A layer's keys and values lie behind each other, so that one call
    moves both. `dtype` is what is written and gathered; `QuantisedKVCache` stores it in fewer bits.
    """

    def __init__(
        self, shape: KVCacheSpec, num_pages: int, page_size: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self.kv_heads = shape.kv_heads
        self.dtype = dtype
        self.device = device
        self.quantised = shape.quantised
        self.null_page = num_pages
        size = (2 * (num_pages + 1), shape.kv_heads, page_size, shape.head_dim)
        self._layers = [zeros(size, shape.quantised or dtype, device) for _ in range(shape.layers)]
        self.keys, self.values = zip(*(layer.chunk(2) for layer in self._layers), strict=True)
        self._copied: Tensor | None = None
        self._kernels = kernels_for(dtype, device)

    def value_pages(self, pages: Tensor) -> Tensor:
        """Where the values of `pages` lie, int64 [n]; their keys lie where their numbers say."""
        return pages + self.num_pages + 1

    def first_slots(self, pages: Tensor) -> Tensor:
        """Where each page's KV heads begin among a layer's `slots`, int64 [n, kv_heads]."""
        return (pages[:, None] * self.kv_heads + torch.arange(self.kv_heads, device=self.device)) * self.page_size

    def both(self, pages: Tensor) -> Tensor:
        """Where the keys of `pages`, int64 [n], lie and then where their values do."""
        return torch.cat((pages, self.value_pages(pages)))

    def places(self, pages: Tensor, slots: Tensor) -> Tensor:
        """Where `write` puts tokens, int64 [2 x tokens x kv_heads], from their pages and slots, int64 [tokens]."""
        return (self.first_slots(self.both(pages)) + slots.repeat(2)[:, None]).reshape(-1)

    def write(self, layer: int, keys: Tensor, values: Tensor, places: Tensor) -> None:
        """Store keys and values, [tokens, kv_heads, head_dim] each, at `places`."""
        if self._kernels is not None:
            self._kernels.write_tokens(self.slots(layer), places, keys, values)
        else:
            self.slots(layer).index_copy_(0, places, torch.cat((keys, values)).view(-1, keys.shape[-1]))

    def heads(self, pages: Tensor) -> Tensor:
        """Which of a layer's `gather_heads` are those of `pages`, int64 [..., kv_heads] from [...]."""
        return pages[..., None] * self.kv_heads + torch.arange(self.kv_heads, device=self.device)

    def gather(self, layer: int, pages: Tensor) -> Tensor:
        """Copies of n pages, which `both` and `value_pages` may have named: [n, kv_heads, page_size, head_dim].

        They lie in a buffer that the next call overwrites. On a CPU a copy in order and a product out of the cache are
        faster together than a product that waits for memory, and fresh memory each time would cost more than both.
        """
        return self._copies(layer, pages, heads_apart=False)

    def gather_heads(self, layer: int, heads: Tensor) -> Tensor:
        """Copies of what single KV heads have in pages (`heads`), [n, page_size, head_dim], in the same buffer."""
        return self._copies(layer, heads, heads_apart=True)

    def absmax(self, layer: int) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002 (of those that quantise)
        """The largest magnitudes of a layer's keys and of its values, where those are quantised."""
        return None

    def slots(self, layer: int) -> Tensor:
        """All keys and values of a layer as [slots, head_dim]."""
        return self._layers[layer].view(-1, self._layers[layer].shape[-1])

    def zero(self, pages: Sequence[int]) -> None:
        """Wipe pages that may hold NaN, before somebody else gets them and masks only what is beyond its end."""
        index = self.both(torch.tensor(pages, dtype=torch.int64, device=self.device))
        for layer in self._layers:
            layer.index_fill_(0, index, 0)

    def _copies(self, layer: int, which: Tensor, *, heads_apart: bool) -> Tensor:
        stored = self._layers[layer].flatten(0, 1) if heads_apart else self._layers[layer]
        size = (len(which), *stored.shape[1:])
        if self._copied is None or math.prod(size) > self._copied.numel():
            self._copied = stored.new_empty(1 << math.prod(size).bit_length())
        return torch.index_select(stored, 0, which, out=self._copied[: math.prod(size)].view(size))


def zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, not whatever memory held: a masked NaN is still a NaN once it is multiplied by its weight of zero."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    # PyTorch writes its zeros at once; those of a mapping come from the system when a page of memory is first touched.
    memory = mmap.mmap(-1, math.prod(size) * dtype.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(size)
