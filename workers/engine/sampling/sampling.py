"""Choosing tokens: every row of a batch by its own parameters, all rows at once.

Randomness is one uniform number per token, a hash of (seed, position), put through the inverse of the row's
cumulative distribution. So a draw never depends on what else is in the batch, nor on how often a step was repeated.
Only tensors go in and out; nothing here knows of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.transfer import upload

# Most nuclei are far smaller than this; only rows whose nucleus is larger pay for a sort of the whole vocabulary.
_NUCLEUS_HEAD = 256

_BLOCK = 256  # of the vocabulary: few blocks, and each soon searched

_FLOAT_BITS = 31  # of a float32, without its sign

_UNIFORM_BITS = 24  # what a float32 in [0, 1) can hold

# SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), as signed 64-bit.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


@dataclass(frozen=True, slots=True)
class SamplingTensors:
    """The sampling parameters of a batch, one entry per row; the flags let a step skip what no row asks for."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    seed: Tensor
    most_top_k: int
    any_sampled: bool
    any_top_k: bool
    any_nucleus: bool
    any_min_p: bool

    @classmethod
    def of(cls, params: Sequence[SamplingParams], seeds: Sequence[int], device: torch.device) -> "SamplingTensors":
        """Gather `params`; `seeds` are used as they are, modulo 2**64, in place of `params.seed`."""
        sampled = [p for p in params if p.temperature > 0]
        return cls(
            temperature=upload([p.temperature for p in params], torch.float32, device),
            top_k=upload([p.top_k for p in params], torch.int64, device),
            top_p=upload([p.top_p for p in params], torch.float32, device),
            min_p=upload([p.min_p for p in params], torch.float32, device),
            seed=upload([_signed_64(seed) for seed in seeds], torch.int64, device),
            most_top_k=max((p.top_k for p in params), default=0),
            any_sampled=bool(sampled),
            any_top_k=any(p.top_k > 0 for p in sampled),
            any_nucleus=any(p.top_p < 1 for p in sampled),
            any_min_p=any(p.min_p > 0 for p in sampled),
        )


def sample(logits: Tensor, params: SamplingTensors, positions: Tensor) -> Tensor:
    """The next token of every row: int64 [rows], from float32 logits [rows, vocab].

    `positions` [rows] counts each row's generated tokens from 0. Rows of temperature 0 take the likeliest token.
    Rows that `broken_rows` names get a valid token id that means nothing.
    """
    greedy = likeliest(logits)
    if not params.any_sampled:
        return greedy
    probs = _tempered(logits, params.temperature)
    if params.any_top_k:
        probs = torch.where(probs >= top_k_floor(probs, params.top_k, params.most_top_k), probs, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    if params.any_nucleus:
        probs = torch.where(probs >= nucleus_floor(probs, params.top_p), probs, 0.0)
    if params.any_min_p:
        probs = torch.where(probs >= params.min_p[:, None] * probs.amax(dim=-1, keepdim=True), probs, 0.0)
    drawn = _inverse_cdf(probs, uniform(params.seed, positions))
    return torch.where(params.temperature > 0, drawn, greedy)


def likeliest(logits: Tensor) -> Tensor:
    """Each row's likeliest token, the first of several: int64 [rows]."""
    vocab = logits.shape[-1]
    if logits.device.type != "cpu" or vocab < 2 * _BLOCK:
        return logits.argmax(dim=-1)
    # On a CPU the highest number is found much faster than its place: so the place is looked for in one block.
    whole = vocab // _BLOCK * _BLOCK
    peaks = logits[:, :whole].unflatten(-1, (-1, _BLOCK)).amax(dim=-1)
    if whole < vocab:
        peaks = torch.cat((peaks, logits[:, whole:].amax(dim=-1, keepdim=True)), dim=-1)
    start = (peaks.argmax(dim=-1, keepdim=True) * _BLOCK).clamp(max=vocab - _BLOCK)
    within = logits.gather(-1, start + torch.arange(_BLOCK)).argmax(dim=-1)
    token: Tensor = start.squeeze(-1) + within
    return token


def broken_rows(logits: Tensor) -> Tensor:
    """Rows no token can be chosen from, bool [rows]: they hold a NaN or +inf, or nothing but -inf."""
    return ~logits.amax(dim=-1).isfinite()


def token_logprobs(logits: Tensor, tokens: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities under the model's own distribution, before temperature and top-p.

    Returns that of `tokens` [rows], and values and ids of the `top` likeliest [rows, top], best first (fewer where the
    vocabulary is smaller).
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    chosen = logprobs.gather(-1, tokens[:, None]).squeeze(-1)
    values, ids = logprobs.topk(min(top, logits.shape[-1]), dim=-1)
    return chosen, values, ids


def uniform(seeds: Tensor, positions: Tensor) -> Tensor:
    """One float32 in [0, 1) for each (seed, position) pair of int64 [rows]: SplitMix64's outputs, in any order."""
    mixed = _mix(seeds + (positions + 1) * _GOLDEN)
    return _shift_right(mixed, 64 - _UNIFORM_BITS).to(torch.float32) * 2.0**-_UNIFORM_BITS


def top_k_floor(probs: Tensor, top_k: Tensor, most_top_k: int) -> Tensor:
    """The probability of each row's `top_k`-th likeliest token, [rows, 1]; 0 where `top_k` is 0. Ties stay in."""
    most = min(most_top_k, probs.shape[-1])
    ranked = probs.topk(most, dim=-1).values
    floor = ranked.gather(-1, top_k.clamp(1, most)[:, None] - 1)
    return torch.where((top_k > 0)[:, None], floor, 0.0)


def nucleus_floor(probs: Tensor, top_p: Tensor) -> Tensor:
    """The least probability inside each row's nucleus, [rows, 1]; 0 where `top_p` is 1 or more.

    The nucleus is the smallest set of likeliest tokens whose mass reaches `top_p` (Holtzman et al.: "The Curious Case
    of Neural Text Degeneration", 2020). Tokens as likely as its last member belong to it too, so that the answer
    depends on no sorting order.
    """
    if probs.device.type != "cpu":
        return torch.where(top_p < 1, floor_by_halving(probs, top_p), 0.0)[:, None]
    head = probs.topk(min(_NUCLEUS_HEAD, probs.shape[-1]), dim=-1).values
    floor, mass = _floor_of_sorted(head, top_p)
    larger = ((mass < top_p) & (top_p < 1)).nonzero().squeeze(-1)
    if larger.numel() and head.shape[-1] < probs.shape[-1]:
        ranked = probs[larger].sort(dim=-1, descending=True).values
        floor[larger] = _floor_of_sorted(ranked, top_p[larger])[0]
    return torch.where(top_p < 1, floor, 0.0)[:, None]


def floor_by_halving(probs: Tensor, top_p: Tensor) -> Tensor:
    """The same without looking at any number on the host, which a GPU would have to wait for: [rows].

    Floats of one sign are in the order of their bits, so halving finds the highest floor above which there is mass
    enough in as many rounds as there are bits. Reading all probabilities that often is quicker than sorting them.
    """
    low = torch.zeros_like(top_p, dtype=torch.int32)
    high = probs.amax(dim=-1).view(torch.int32)
    for _ in range(_FLOAT_BITS):
        middle = low + (high - low + 1) // 2
        floor = middle.view(torch.float32)[:, None]
        enough = torch.where(probs >= floor, probs, 0.0).sum(dim=-1) >= top_p
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle - 1)
    return low.view(torch.float32)


def _floor_of_sorted(ranked: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """The last probability that the nucleus needs, and the mass of all that is ranked, both [rows]."""
    mass = ranked.cumsum(dim=-1)
    needed = (mass - ranked < top_p[:, None]).sum(dim=-1).clamp(min=1)
    return ranked.gather(-1, needed[:, None] - 1).squeeze(-1), mass[:, -1]


def _tempered(logits: Tensor, temperature: Tensor) -> Tensor:
    # The maximum is taken off first, so that a tiny temperature cannot overflow.
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    return torch.softmax(shifted / torch.where(temperature > 0, temperature, 1.0)[:, None], dim=-1)


def _inverse_cdf(probs: Tensor, uniforms: Tensor) -> Tensor:
    cdf = probs.cumsum(dim=-1)
    # The largest uniform is 1 - 2**-24, so the product rounds to less than the total, and the token found has
    # probability; only a row of NaN needs the clamp.
    drawn = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True).squeeze(-1)
    return drawn.clamp(max=probs.shape[-1] - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift: int64's own would drag the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed_64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
