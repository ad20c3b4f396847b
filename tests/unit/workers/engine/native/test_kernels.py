"""What the kernels compute between products, against PyTorch's operations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pelton.workers.engine.native.kernels import DecodePlan
from tests.unit.workers.engine._support.native import NEEDS_KERNELS, the_kernels

pytestmark = NEEDS_KERNELS

# Fewer rows than threads, vectors that are not whole, and what several threads compute.
SIZES = st.sampled_from([(1, 1), (1, 7), (3, 16), (5, 33), (2, 576), (40, 1536)])
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])
SEEDS = st.integers(0, 2**31)
BROKEN = st.sampled_from([None, float("nan"), float("inf"), float("-inf")])


def drawn(rows: int, size: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(rows, size, generator=generator)).to(dtype)


def assert_same(got: Tensor, expected: Tensor) -> None:
    """But for the last bit, and NaN wherever there should be one."""
    torch.testing.assert_close(got, expected.to(got.dtype), equal_nan=True)


@given(sizes=SIZES, dtype=DTYPES, seed=SEEDS, broken=BROKEN)
def test_norms(sizes: tuple[int, int], dtype: torch.dtype, seed: int, broken: float | None) -> None:
    """Scaled in float32, rounded, and multiplied; what is broken stays in its row."""
    rows, size = sizes
    numbers, weight = drawn(rows, size, dtype, seed), drawn(1, size, dtype, seed + 1)[0]
    if broken is not None:
        numbers[0, 0] = broken
    scale = (numbers.float().square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    expected = (numbers.float() * scale).to(dtype) * weight
    given_numbers = numbers.clone()
    assert_same(the_kernels().rms_norm(numbers, weight, 1e-5), expected)
    torch.testing.assert_close(numbers, given_numbers, rtol=0, atol=0, equal_nan=True)


@given(sizes=SIZES, dtype=DTYPES, seed=SEEDS, size=st.sampled_from([1e-3, 1.0, 40.0]))
def test_gates(sizes: tuple[int, int], dtype: torch.dtype, seed: int, size: float) -> None:
    """SiLU of one half times the other, also where its exponential is out of range."""
    joined = drawn(sizes[0], 2 * sizes[1], dtype, seed) * size
    gate, up = joined.chunk(2, dim=-1)
    assert_same(the_kernels().gate_silu(joined), torch.nn.functional.silu(gate.float()).to(dtype) * up)


@given(
    rows=st.integers(1, 40), heads=st.sampled_from([(1, 1), (4, 2), (9, 3)]), dtype=DTYPES, seed=SEEDS,
    dims=st.sampled_from([(2, 2), (16, 16), (64, 32), (24, 8)]),
)  # fmt: skip
def test_turns(rows: int, heads: tuple[int, int], dtype: torch.dtype, seed: int, dims: tuple[int, int]) -> None:
    """The first numbers of the first heads are turned where they lie; all others stay."""
    (turned, others), (dim, size) = heads, dims
    joined = drawn(rows, (turned + others) * dim, dtype, seed).view(1, rows, -1, dim)
    angles = drawn(rows, size // 2, torch.float32, seed + 1)
    cosines, sines = angles.cos().repeat(1, 2), torch.cat((-angles.sin(), angles.sin()), dim=1)
    cosines, sines = (each.to(dtype).view(1, rows, 1, size) for each in (cosines, sines))
    expected = joined.clone()
    part = expected[:, :, :turned, :size]
    part.copy_(torch.addcmul(part * cosines, part.roll(size // 2, dims=-1), sines))
    the_kernels().rotate(joined, turned, cosines, sines)
    assert_same(joined, expected)
    assert torch.equal(joined[:, :, turned:], expected[:, :, turned:])
    assert torch.equal(joined[..., size:], expected[..., size:])


@given(sizes=SIZES, dtype=DTYPES, seed=SEEDS, broken=BROKEN, twice=st.booleans(), scaled=st.booleans())
def test_levels(  # noqa: PLR0913, PLR0917 (a test's cases)
    sizes: tuple[int, int], dtype: torch.dtype, seed: int, broken: float | None, twice: bool, scaled: bool
) -> None:
    """Levels are the nearest, what they leave over is within half of one, and a broken row's size is NaN."""
    rows, size = sizes
    numbers, factors = drawn(rows, size, dtype, seed), drawn(1, size, torch.float32, seed + 1)[0]
    if broken is not None:
        numbers[0, -1] = broken
    levels, largest = the_kernels().quantise(numbers, factors if scaled else None, twice=twice)
    wide = numbers.float() * factors if scaled else numbers.float()
    sane = slice(0 if broken is None else 1, None)
    assert broken is None or largest[0].isnan()
    assert torch.equal(largest[sane], wide[sane].abs().amax(dim=1).clamp(min=1e-30))
    exact = wide[sane] * (127 / largest[sane, None])
    left = exact - levels[:rows][sane]
    assert (left.abs() <= 0.5001).all()
    assert len(levels) == (2 * rows if twice else rows)
    if twice:
        assert ((left * 254 - levels[rows:][sane]).abs() <= 0.51).all()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("twice", [True, False])
@given(sizes=SIZES, dtype=DTYPES, seed=SEEDS)
def test_products_become_numbers(
    sizes: tuple[int, int], dtype: torch.dtype, seed: int, twice: bool, biased: bool
) -> None:
    """Times the size of their row, and what the second step adds."""
    rows, size = sizes
    products = drawn(2 * rows if twice else rows, size, torch.float32, seed)
    largest, bias = drawn(1, rows, torch.float32, seed + 1)[0], drawn(1, size, torch.float32, seed + 2)[0]
    expected = products[:rows] + (products[rows:] / 254 if twice else 0)
    expected = expected * largest[:, None] + (bias if biased else 0)
    got = the_kernels().rescale(products, largest, bias if biased else None, dtype)
    torch.testing.assert_close(got, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)


@pytest.mark.parametrize("gaps", [lambda each: each, lambda each: each.transpose(0, 1).contiguous().transpose(0, 1)])
@pytest.mark.parametrize("tokens", [1, 5, 300])
def test_tokens_are_written_where_they_belong(tokens: int, gaps: Callable[[Tensor], Tensor]) -> None:
    """Keys and then values, whatever lies between their heads; nothing else is touched."""
    joined = drawn(tokens, 9 * 64, torch.bfloat16, 1).view(tokens, 9, 64)
    keys, values = gaps(joined[:, 3:6]), gaps(joined[:, 6:])
    layer = torch.zeros(8 * tokens, 64, dtype=torch.bfloat16)
    places = torch.randperm(len(layer), generator=torch.Generator().manual_seed(2))[: 6 * tokens]
    expected = layer.clone().index_copy_(0, places, torch.cat((keys, values)).view(-1, 64))
    the_kernels().write_tokens(layer, places, keys, values)
    assert torch.equal(layer, expected)


def test_other_data_types_are_refused() -> None:
    """Bytes of one type are never taken for another's."""
    keys, layer = torch.zeros(1, 2, 16), torch.zeros(8, 16, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"keys in torch\.float32 .* pages of torch\.bfloat16"):
        the_kernels().write_tokens(layer, torch.arange(4), keys, keys)
    arrays = tuple(np.array(each) for each in ([0], [0], [1], [0, 1], [0], [0, 1], [0], [0]))
    plan, stored, given_room = DecodePlan(1, (2, 2, 16, 4), arrays), layer.view(1, 2, 4, 16), torch.empty(2 * 18)
    with pytest.raises(TypeError, match=r"queries in torch\.float32 for pages of torch\.bfloat16"):
        the_kernels().decode(plan, (stored, stored), None, keys, 1.0, 0.0, given_room)
