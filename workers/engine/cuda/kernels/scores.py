"""Triton: what the attention kernels share: scores of a page, and the running softmax over pages.

Scores are kept in base 2, so that every exponential is the hardware's own `exp2`.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.attention.quantised_kv import LEVELS

# Shared memory of a Hopper or Blackwell data-centre card, and of an A100 about; others have 99 KiB.
_ROOMY_BYTES = 160 * 1024
_TILE_BYTES, _SMALL_TILE_BYTES = 2**15, 2**14

EVERYTHING = 2**30
"""The window of a layer without one: longer than any context, and small enough for 32 bits."""


@triton.jit
def _in_base_2(scores, softcap, CAPPED: tl.constexpr):
    if CAPPED:
        # tanh by one exponential: at both ends it goes to plus and minus one without a NaN.
        scores = softcap * (1.0 - 2.0 / (tl.exp2(scores * (2.0 * 1.4426950408889634 / softcap)) + 1.0))
    return scores * 1.4426950408889634


@triton.jit
def page_scores(queries, keys, visible, scale, softcap, CAPPED: tl.constexpr, PRECISION: tl.constexpr):
    """Scores in base 2, float32 [queries, page], from queries [queries, dim] and keys [page, dim].

    `scale` is a number, or one for each key, [1, page]. What is not `visible` scores -1e30: finite, so that a page of
    which a query sees nothing makes no NaN.
    """
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
    return tl.where(visible, _in_base_2(scores, softcap, CAPPED), -1.0e30)


@triton.jit
def absorb(scores, values, magnitudes, peak, total, mixed, PRECISION: tl.constexpr):
    """A page joins the softmax so far: its highest score, the sum of weights relative to that, and the mix of values.

    Those count by their `magnitudes` [1, page], or 1.
    What earlier pages gave to a query that had seen nothing yet is wiped when it first sees something.
    """
    higher = tl.maximum(peak, tl.max(scores, 1))
    weights = tl.exp2(scores - higher[:, None])
    faded = tl.exp2(peak - higher)
    total = total * faded + tl.sum(weights, 1)
    mixed = mixed * faded[:, None]
    mixed = tl.dot((weights * magnitudes).to(values.dtype), values, mixed, input_precision=PRECISION)
    return higher, total, mixed


@triton.jit
def absorb_one(queries, key, value, scale, softcap, peak, total, mixed, CAPPED: tl.constexpr):
    """One token more, of key and value [dim], joins the softmax so far."""
    products = tl.sum(queries.to(tl.float32) * key.to(tl.float32)[None, :], 1)
    score = _in_base_2(products * scale, softcap, CAPPED)
    higher = tl.maximum(peak, score)
    weight = tl.exp2(score - higher)
    faded = tl.exp2(peak - higher)
    mixed = mixed * faded[:, None] + weight[:, None] * value.to(tl.float32)[None, :]
    return higher, total * faded + weight, mixed


@functools.cache
def is_roomy(device: torch.device) -> bool:
    """Whether a program can have the shared memory that large tiles take; so it is said of all but NVIDIA's cards."""
    if device.type != "cuda":
        return True
    return bool(torch.cuda.get_device_properties(device).shared_memory_per_block_optin >= _ROOMY_BYTES)


def tile_tokens(key_store: Tensor) -> int:
    """How many tokens of a page are read at once: all, or a power of two of them that shared memory holds."""
    _, _, page, dim = key_store.shape
    most = (_TILE_BYTES if is_roomy(key_store.device) else _SMALL_TILE_BYTES) // (dim * _number_bytes(key_store))
    return min(page, max(16, 1 << (most.bit_length() - 1)))


def tile_bytes(key_store: Tensor) -> int:
    """What a tile takes where it is multiplied."""
    return tile_tokens(key_store) * key_store.shape[-1] * _number_bytes(key_store)


def _number_bytes(key_store: Tensor) -> int:
    """Quantised numbers are multiplied in the model's data type, which has two bytes wherever memory is scarce."""
    return max(2, key_store.element_size())


def constants(queries: Tensor, key_store: Tensor, scoring: AttentionParams) -> dict[str, int | float | bool | str]:
    """What the compiled kernels know of a layer: sizes, whether scores are capped, how exact products are, and the
    levels of quantised numbers.

    Products of float32 are computed as such: Triton's default there has the precision of half a float32.
    """
    _, heads, dim = queries.shape
    _, kv_heads, page, _ = key_store.shape
    return {
        "PAGE": page, "TILE": tile_tokens(key_store), "KV_HEADS": kv_heads, "GROUP": heads // kv_heads, "DIM": dim,
        "BLOCK_DIM": max(16, triton.next_power_of_2(dim)), "CAPPED": scoring.softcap is not None,
        "LEVELS": LEVELS.get(key_store.dtype, 1.0),
        "PRECISION": "ieee" if queries.dtype.itemsize == 4 else "tf32",  # noqa: PLR2004 (bytes of a float32)
    }  # fmt: skip
