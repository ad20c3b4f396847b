"""Triton: keys and values in one byte for each number, and what they are read as (`attention/quantised_kv.py`).

A stored vector is read as its levels, whole numbers of LEVELS for its largest magnitude, times that magnitude. What a
kernel sums of such vectors is LEVELS times too large, and divided by it at the end. LEVELS is 1 where nothing is
quantised, and all of this is compiled away.
"""

import triton
import triton.language as tl


@triton.jit
def magnitude(numbers, AXIS: tl.constexpr):
    """The largest along an axis; NaN where there is a number that is not finite, so that no answer hides it."""
    numbers = numbers.to(tl.float32)
    return tl.max(tl.abs(numbers), AXIS) + tl.sum(numbers * 0.0, AXIS)


@triton.jit
def in_levels(numbers, absmax, TYPE: tl.constexpr, LEVELS: tl.constexpr):
    """Numbers as TYPE, from the magnitudes that `absmax` [broadcast to them] has."""
    levels = numbers.to(tl.float32) * (LEVELS / tl.maximum(absmax, 1e-30))
    if TYPE == tl.int8:  # noqa: SIM300 (a type of Triton's is no constant)
        levels = tl.floor(levels + 0.5)
    return levels.to(TYPE)


@triton.jit
def magnitudes_at(absmax, tokens, mask, LEVELS: tl.constexpr):
    """What the vectors of `tokens` [n] are multiplied by, [1, n]."""
    if LEVELS > 1.0:
        return tl.load(absmax + tokens, mask=mask, other=0.0)[None, :]
    else:  # noqa: RET505 (only one of both is compiled)
        return 1.0


@triton.jit
def store_one(numbers, store, absmax, token, dims, DIM: tl.constexpr, LEVELS: tl.constexpr):
    """Put a vector [dims] in its place, and return what it will be read as."""
    real = dims < DIM
    if LEVELS > 1.0:
        largest = magnitude(numbers, 0)
        stored = in_levels(numbers, largest, store.dtype.element_ty, LEVELS)
        tl.store(absmax + token, largest)
        numbers = stored.to(tl.float32) * largest
    else:
        stored = numbers
    tl.store(store + token * DIM + dims, stored, mask=real)
    return numbers
