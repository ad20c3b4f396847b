"""Keys and values in one byte for each number, with one scale for each token and KV head.

Such a vector is written once and never changed, so its scale can be its own largest magnitude. A scale for a page or a
whole head would be exceeded by later tokens, and what is stored already would have to be quantised again.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pelton.workers.engine.attention.kv_cache import KVCache, KVCacheSpec, zeros

LEVELS = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""The number that stands for a vector's largest magnitude, by the type it is stored in."""

# A vector of zeros has no magnitude to divide by.
_LEAST_ABSMAX = 1e-30


class QuantisedKVCache(KVCache):
    """`write` quantises, `gather` gives the model's data type again. What is stored is a vector's numbers as parts of
    its largest magnitude (absmax), float32 [2 x pages, kv_heads, page_size] per layer.

    Numbers are moved as bytes: PyTorch indexes few of its 8-bit floats.
    """

    def __init__(
        self, shape: KVCacheSpec, num_pages: int, page_size: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(shape, num_pages, page_size, dtype=dtype, device=device)
        self._stored = shape.quantised or dtype
        self._levels = LEVELS[self._stored]
        size = self._layers[0].shape[:3]
        self._absmax = [zeros(size, torch.float32, device) for _ in self._layers]
        self._absmax_of_both = [tuple(each.chunk(2)) for each in self._absmax]
        self._gathered: Tensor | None = None

    def absmax(self, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = self._absmax_of_both[layer]
        return keys, values

    def write(self, layer: int, keys: Tensor, values: Tensor, places: Tensor) -> None:
        numbers = torch.cat((keys, values)).view(-1, keys.shape[-1]).float()
        absmax = numbers.abs().amax(dim=1)
        in_levels = numbers * (self._levels / absmax.clamp(min=_LEAST_ABSMAX))[:, None]
        if self._stored == torch.int8:
            in_levels.round_()
        self._bytes(layer).flatten(0, 2).index_copy_(0, places, in_levels.to(self._stored).view(torch.int8))
        self._absmax[layer].view(-1).index_copy_(0, places, absmax)

    def zero(self, pages: Sequence[int]) -> None:
        index = self.both(torch.tensor(pages, dtype=torch.int64, device=self.device))
        for layer, absmax in enumerate(self._absmax):
            self._bytes(layer).index_fill_(0, index, 0)
            absmax.index_fill_(0, index, 0)

    def _copies(self, layer: int, which: Tensor, *, heads_apart: bool) -> Tensor:
        stored, absmax = self._bytes(layer), self._absmax[layer]
        if heads_apart:
            stored, absmax = stored.flatten(0, 1), absmax.flatten(0, 1)
        size = (len(which), *stored.shape[1:])
        count = math.prod(size)
        if self._copied is None or self._gathered is None or count > self._copied.numel():
            self._copied = stored.new_empty(1 << count.bit_length())
            self._gathered = stored.new_empty(len(self._copied), dtype=self.dtype)
        copied = torch.index_select(stored, 0, which, out=self._copied[:count].view(size))
        scales = absmax.index_select(0, which).mul_(1 / self._levels).to(self.dtype)
        return self._gathered[:count].view(size).copy_(copied.view(self._stored)).mul_(scales[..., None])

    def _bytes(self, layer: int) -> Tensor:
        return self._layers[layer].view(torch.int8)


def kv_cache(
    shape: KVCacheSpec, num_pages: int, page_size: int, *, dtype: torch.dtype, device: torch.device
) -> KVCache:
    """A store for a model of `dtype`, of the kind that `shape` asks for."""
    kind = KVCache if shape.quantised is None else QuantisedKVCache
    return kind(shape, num_pages, page_size, dtype=dtype, device=device)
