"""Triton: heads of queries and keys as attention takes them: normed, and turned by their positions.

Done where a kernel reads them, so that it takes no kernel and no memory of its own. All in float32, rounded once. Norms
are RMS norms (Zhang and Sennrich, 2019), turns rotary embeddings (Su et al.: "RoFormer", 2021).
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NormRope:
    """What is still to be done to a layer's queries and keys.

    `cosines` and `sines` [rows, size] turn the first `size` numbers of a head, those half of `size` apart together, or
    neighbours where they are `interleaved`; the second half of the columns is the first again, and is not read.
    `query_weight` and `key_weight` float32 [head_dim] belong to norms before that, with `epsilon`; None: no norms.
    """

    cosines: Tensor
    sines: Tensor
    interleaved: bool
    query_weight: Tensor | None = None
    key_weight: Tensor | None = None
    epsilon: float = 0.0


@triton.jit
def load_heads(
    heads, dims, real, weight, epsilon, cosines, sines,
    AXIS: tl.constexpr, DIM: tl.constexpr, ROTARY: tl.constexpr, INTERLEAVED: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """Numbers at `heads` [..., 1] + `dims` where they are `real`, normed and turned; as they lie where ROTARY is 0.

    `cosines` and `sines` point at the row of each head, and AXIS is that of `dims`.
    """
    given = tl.load(heads + dims, mask=real, other=0.0)
    if ROTARY == 0:
        return given
    else:  # noqa: RET505 (only one of both is compiled)
        half: tl.constexpr = ROTARY // 2
        turned = dims < ROTARY
        if INTERLEAVED:
            first = dims % 2 == 0
            partner = tl.where(first, dims + 1, dims - 1)
            frequency = dims // 2
        else:
            first = dims < half
            partner = tl.where(first, dims + half, dims - half)
            frequency = tl.where(first, dims, dims - half)
        numbers = given.to(tl.float32)
        partners = tl.load(heads + partner, mask=real & turned, other=0.0).to(tl.float32)
        if NORMED:
            scale = tl.rsqrt(tl.sum(numbers * numbers, AXIS, keep_dims=True) / DIM + epsilon)
            numbers = numbers * scale * tl.load(weight + dims, mask=dims < DIM, other=0.0)
            partners = partners * scale * tl.load(weight + partner, mask=turned, other=0.0)
        cosine = tl.load(cosines + frequency, mask=turned, other=1.0).to(tl.float32)
        sine = tl.load(sines + frequency, mask=turned, other=0.0).to(tl.float32)
        return (numbers * cosine + tl.where(first, -partners, partners) * sine).to(given.dtype)


def norm_rope_arguments(
    norm_rope: NormRope | None, unused: Tensor
) -> tuple[tuple[Tensor | float, ...], dict[str, int | bool]]:
    """What kernels that call `load_heads` are given: cosines, sines, weights, the cosines' stride and epsilon; and what
    they are compiled for. `unused` stands for tensors that there are none of.
    """
    if norm_rope is None:
        return (unused, unused, unused, unused, 0, 0.0), {"ROTARY": 0, "INTERLEAVED": False, "NORMED": False}
    known = {
        "ROTARY": norm_rope.cosines.shape[-1], "INTERLEAVED": norm_rope.interleaved,
        "NORMED": norm_rope.query_weight is not None,
    }  # fmt: skip
    weights = [unused if each is None else each for each in (norm_rope.query_weight, norm_rope.key_weight)]
    return (norm_rope.cosines, norm_rope.sines, *weights, norm_rope.cosines.stride(0), norm_rope.epsilon), known
