"""Triton: the likeliest token of every row, read once and in the logits' own type."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 8192
_NO_TOKEN = tl.constexpr(2**31 - 1)


@triton.jit
def _first_highest(values, tokens):
    """The highest value and the lowest token that has it; NaN counts as infinite, so that it is not passed over."""
    values = tl.where(values != values, float("inf"), values)
    best = tl.max(values, 0)
    return best, tl.min(tl.where(values == best, tokens, _NO_TOKEN), 0)


@triton.jit
def _parts_kernel(logits, bests, tokens, row_stride, vocab, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(logits + row * row_stride + columns, mask=columns < vocab, other=float("-inf")).to(tl.float32)
    best, token = _first_highest(values, columns)
    place = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(bests + place, best)
    tl.store(tokens + place, token)


@triton.jit(do_not_specialize=["rows"])
def _whole_kernel(bests, tokens, chosen, rows, parts, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, BLOCK)
    values = tl.load(bests + row * parts + part, mask=part < parts, other=float("-inf"))
    best, token = _first_highest(values, tl.load(tokens + row * parts + part, mask=part < parts, other=_NO_TOKEN))
    tl.store(chosen + row, token.to(tl.int64))
    broken = (best == float("inf")) | (best == float("-inf"))
    tl.store(chosen + rows + row, broken.to(tl.int64))


def likeliest(logits: Tensor) -> Tensor:
    """Int64 [2, rows] from logits [rows, vocab]: tokens, the lowest of several likeliest; and 1 for broken rows.

    A row is broken as `sampling.broken_rows` has it; its token is a valid one that means nothing.
    """
    rows, vocab = logits.shape
    parts = triton.cdiv(vocab, _BLOCK)
    bests = torch.empty((rows, parts), dtype=torch.float32, device=logits.device)
    tokens = torch.empty((rows, parts), dtype=torch.int32, device=logits.device)
    chosen = torch.empty((2, rows), dtype=torch.int64, device=logits.device)
    if rows:
        block = min(_BLOCK, triton.next_power_of_2(vocab))
        _parts_kernel[(rows, parts)](logits, bests, tokens, logits.stride(0), vocab, BLOCK=block, num_warps=4)
        _whole_kernel[(rows,)](bests, tokens, chosen, rows, parts, BLOCK=triton.next_power_of_2(parts), num_warps=1)
    return chosen
