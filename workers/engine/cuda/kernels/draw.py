"""Triton: tokens drawn by temperature alone, from logits that are read once and in their own type.

As `sampling.sample` draws them: the first token at which the summed weights pass the row's uniform number. First the
weights of each part of the vocabulary are summed; then the part is found, and in it the token.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096


@triton.jit
def uniform_number(seed, position):
    """In [0, 1): `sampling.uniform` of a seed and a position, both int64."""
    mixed = seed.to(tl.uint64) + (position.to(tl.uint64) + 1) * 0x9E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB
    mixed = mixed ^ (mixed >> 31)
    return (mixed >> 40).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def base_2_scale(temperature):
    """What logits are multiplied by for powers of two; finite for the least temperature, which is to draw the peak."""
    return 1.4426950408889634 / tl.maximum(temperature, 1.0e-30)


@triton.jit
def finite_logits(row, columns, vocab):
    """As float32; minus infinity past their end, and for what no sum can be made of: NaN and infinity."""
    values = tl.load(row + columns, mask=columns < vocab, other=float("-inf")).to(tl.float32)
    return tl.where(values < float("inf"), values, float("-inf"))


@triton.jit
def _weights(values, peak, scale):
    """Of logits beside the peak of all; 0 for minus infinity, and for everything where there is nothing else."""
    some = values > float("-inf")
    return tl.where(
        some, tl.exp2((tl.where(some, values, 0.0) - tl.where(peak > float("-inf"), peak, 0.0)) * scale), 0.0
    )


@triton.jit
def _weigh_kernel(logits, rows, temperatures, peaks, totals, row_stride, vocab, BLOCK: tl.constexpr):
    index = tl.program_id(0)
    row = tl.load(rows + index)
    scale = base_2_scale(tl.load(temperatures + index))
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    values = finite_logits(logits + row * row_stride, columns, vocab)
    # The peak is taken off before the temperature divides, so that a tiny one cannot overflow.
    peak = tl.max(values, 0)
    weights = _weights(values, peak, scale)
    place = index * tl.num_programs(1) + tl.program_id(1)
    tl.store(peaks + place, peak)
    tl.store(totals + place, tl.sum(weights, 0))


@triton.jit
def _draw_kernel(
    logits, rows, temperatures, seeds, positions, peaks, totals, tokens, row_stride, vocab, parts,
    BLOCK: tl.constexpr, BLOCK_PARTS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    row = tl.load(rows + index)
    scale = base_2_scale(tl.load(temperatures + index))
    each = tl.arange(0, BLOCK_PARTS)
    peak = tl.load(peaks + index * parts + each, mask=each < parts, other=float("-inf"))
    highest = tl.max(peak, 0)
    total = tl.load(totals + index * parts + each, mask=each < parts, other=0.0)
    total = total * _weights(peak, highest, scale)
    wanted = uniform_number(tl.load(seeds + index), tl.load(positions + index)) * tl.sum(total, 0)
    # Rounding must not lead past the last part that has any weight.
    last = tl.max(tl.where(total > 0, each, 0), 0)
    part = tl.minimum(tl.sum((tl.cumsum(total, 0) <= wanted).to(tl.int32), 0), last)
    before = tl.sum(tl.where(each < part, total, 0.0), 0)
    columns = part * BLOCK + tl.arange(0, BLOCK)
    values = finite_logits(logits + row * row_stride, columns, vocab)
    weights = _weights(values, highest, scale)
    passed = tl.sum((before + tl.cumsum(weights, 0) <= wanted).to(tl.int32), 0)
    heaviest = tl.max(tl.where(weights > 0, columns, part * BLOCK), 0)
    tl.store(tokens + index, tl.minimum(part * BLOCK + passed, heaviest).to(tl.int64))


def draw(logits: Tensor, rows: Tensor, temperatures: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """Int64 [n]: a token for each of `rows` int64 [n] of logits [any, vocab].

    By `temperatures` above 0, float32 [n], and the numbers that `sampling.uniform` makes of `seeds` and `positions`,
    int64 [n].

    Rows that `sampling.broken_rows` names get a valid token that means nothing.
    """
    count, vocab = len(rows), logits.shape[1]
    parts = triton.cdiv(vocab, _BLOCK)
    block = min(_BLOCK, triton.next_power_of_2(vocab))
    peaks, totals = (torch.empty((count, parts), dtype=torch.float32, device=logits.device) for _ in range(2))
    tokens = torch.empty(count, dtype=torch.int64, device=logits.device)
    known = logits.stride(0), vocab
    _weigh_kernel[(count, parts)](logits, rows, temperatures, peaks, totals, *known, BLOCK=block, num_warps=4)
    _draw_kernel[(count,)](
        logits, rows, temperatures, seeds, positions, peaks, totals, tokens, *known, parts,
        BLOCK=block, BLOCK_PARTS=triton.next_power_of_2(parts), num_warps=4,
    )  # fmt: skip
    return tokens
