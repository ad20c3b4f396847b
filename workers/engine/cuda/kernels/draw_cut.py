"""Triton: tokens drawn from the likeliest ones alone: top-k, top-p and min-p in one kernel, a row for each program.

As `sampling.sample` draws them, with tokens as likely as the last one kept. A row is small enough to stay in the card's
cache, so it is read again and again: each time what is above some floor is counted and weighed, and the floor is moved
to half of where it may still be, on to a logit that is there. That ends after about ten times, where sorting would read
and write a row dozens of times.

Scores are logits beside the row's highest, in powers of two. What is less likely than the likeliest by 2**-40 is never
drawn: all of it together weighs less than float32 can tell.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pelton.workers.engine.cuda.kernels.draw import base_2_scale, finite_logits, uniform_number

_BLOCK = 8192
_RANGE = tl.constexpr(40.0)
_WIDE = 2048


@triton.jit
def _scores(row, columns, vocab, peak, scale):
    """Minus infinity past the end and for what cannot be, float32 as `columns`."""
    values = finite_logits(row, columns, vocab)
    some = values > float("-inf")
    return tl.where(some, (tl.where(some, values, 0.0) - peak) * scale, float("-inf"))


@triton.jit
def _peak(row, vocab, BLOCK: tl.constexpr):
    """The highest logit of a row; 0 where there is none that is finite."""
    peak = tl.full((), float("-inf"), tl.float32)
    for start in range(0, vocab, BLOCK):
        peak = tl.maximum(peak, tl.max(finite_logits(row, start + tl.arange(0, BLOCK), vocab), 0))
    return tl.where(peak > float("-inf"), peak, 0.0)


@triton.jit
def _from(row, vocab, peak, scale, floor, BLOCK: tl.constexpr):
    """Of the scores from `floor` on: their number, their weight and the least; and the highest of the others."""
    count = tl.full((), 0, tl.int32)
    weight = tl.full((), 0.0, tl.float32)
    least = tl.full((), float("inf"), tl.float32)
    below = tl.full((), float("-inf"), tl.float32)
    for start in range(0, vocab, BLOCK):
        scores = _scores(row, start + tl.arange(0, BLOCK), vocab, peak, scale)
        inside = scores >= floor
        count += tl.sum(inside.to(tl.int32), 0)
        weight += tl.sum(tl.where(inside, tl.exp2(scores), 0.0), 0)
        least = tl.minimum(least, tl.min(tl.where(inside, scores, float("inf")), 0))
        below = tl.maximum(below, tl.max(tl.where(inside, float("-inf"), scores), 0))
    return count, weight, least, below


@triton.jit
def _between(low, high):
    """Half of the way, and always above `low`."""
    middle = (low + high) * 0.5
    return tl.where(middle > low, middle, high)


@triton.jit
def _draw_cut_kernel(
    logits, rows, temperatures, top_ks, top_ps, min_ps, seeds, positions, tokens, row_stride, vocab,
    BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    row = logits + tl.load(rows + index) * row_stride
    temperature = tl.load(temperatures + index)
    sampled = temperature > 0
    scale = base_2_scale(tl.where(sampled, temperature, 1.0))
    peak = _peak(row, vocab, BLOCK)
    low = tl.full((), -1.0, tl.float32) * _RANGE
    # Names of what is not wanted differ, since the compiler wants one type for each.
    _all, weight, _lowest, _none = _from(row, vocab, peak, scale, low, BLOCK)
    top_k = tl.load(top_ks + index)
    if (top_k > 0) & sampled:
        # All floors up to `low` leave enough, those above `high` too little; both are scores that are there, but for
        # the first.
        high = low * 0.0
        while low < high:
            middle = _between(low, high)
            count, mass, least, below = _from(row, vocab, peak, scale, middle, BLOCK)
            enough = count >= top_k
            low = tl.where(enough, tl.minimum(least, high), low)
            weight = tl.where(enough, mass, weight)
            high = tl.where(enough, high, below)
    top_p = tl.load(top_ps + index)
    if (top_p < 1) & sampled:
        wanted = top_p * weight
        high = low * 0.0
        while low < high:
            middle = _between(low, high)
            _count, mass, least, below = _from(row, vocab, peak, scale, middle, BLOCK)
            enough = mass >= wanted
            low = tl.where(enough, tl.minimum(least, high), low)
            high = tl.where(enough, high, below)
    min_p = tl.load(min_ps + index)
    low = tl.where(min_p > 0, tl.maximum(low, tl.log2(tl.maximum(min_p, 1.0e-30))), low)
    # The likeliest alone, and the first of several, is what a temperature of 0 draws.
    low = tl.where(sampled, low, 0.0)
    uniform = tl.where(sampled, uniform_number(tl.load(seeds + index), tl.load(positions + index)), 0.0)
    _kept, weight, _least, _below = _from(row, vocab, peak, scale, low, BLOCK)
    wanted = uniform * weight
    block = tl.full((), -1, tl.int32)
    before = tl.full((), 0.0, tl.float32)
    passed = tl.full((), 0.0, tl.float32)
    for start in range(0, vocab, BLOCK):
        scores = _scores(row, start + tl.arange(0, BLOCK), vocab, peak, scale)
        # Summed as the whole was, so that the sum of all blocks is the very same number.
        summed = passed + tl.sum(tl.where(scores >= low, tl.exp2(scores), 0.0), 0)
        here = (block < 0) & (summed > wanted)
        block = tl.where(here, start, block)
        before = tl.where(here, passed, before)
        passed = summed
    block = tl.maximum(block, 0)
    columns = block + tl.arange(0, BLOCK)
    scores = _scores(row, columns, vocab, peak, scale)
    weights = tl.where(scores >= low, tl.exp2(scores), 0.0)
    skipped = tl.sum((before + tl.cumsum(weights, 0) <= wanted).to(tl.int32), 0)
    # Rounding must not lead past the last token that has any weight.
    last = tl.max(tl.where(weights > 0, columns, block), 0)
    tl.store(tokens + index, tl.minimum(block + skipped, last).to(tl.int64))


def draw_cut(
    logits: Tensor,
    rows: Tensor,
    temperatures: Tensor,
    top_ks: Tensor,
    top_ps: Tensor,
    min_ps: Tensor,
    seeds: Tensor,
    positions: Tensor,
) -> Tensor:
    """Int64 [n]: a token for each of `rows` int64 [n] of logits [any, vocab].

    By parameters as in `SamplingTensors`, [n] each, and `positions` int64 [n] that count generated tokens from 0. A
    temperature of 0 takes the likeliest token. Rows that `sampling.broken_rows` names get a valid token that means
    nothing.
    """
    vocab = logits.shape[1]
    tokens = torch.empty(len(rows), dtype=torch.int64, device=logits.device)
    block = min(_BLOCK, triton.next_power_of_2(vocab))
    _draw_cut_kernel[(len(rows),)](
        logits, rows, temperatures, top_ks, top_ps, min_ps, seeds, positions, tokens, logits.stride(0), vocab,
        BLOCK=block, num_warps=16 if block > _WIDE else 4,
    )  # fmt: skip
    return tokens
