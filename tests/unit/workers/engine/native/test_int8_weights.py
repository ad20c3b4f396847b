"""Products of int8 in one call, against the kernels that it joins and an exact product between them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pelton.workers.engine.native.int8_weights import Int8Weights, ProductWay
from tests.unit.workers.engine._support.native import NEEDS_KERNELS, the_kernels
from tests.unit.workers.engine._support.products import NEEDS_AMX, NEEDS_VNNI

pytestmark = NEEDS_KERNELS

WAYS = [pytest.param(ProductWay.VNNI, marks=NEEDS_VNNI), pytest.param(ProductWay.AMX, marks=NEEDS_AMX)]
# Less than a block and a tile, whole ones, and more than two of each with some left over.
OUTPUTS, INPUTS, ROWS = st.sampled_from([1, 16, 40, 96]), st.sampled_from([1, 64, 97, 192]), st.integers(1, 70)


def drawn(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def levels_of(seed: int, *shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(seed))


def product(levels: Tensor, weights: Tensor, scales: Tensor) -> Tensor:
    """Exact, then rounded twice, as the kernels do."""
    return (levels.double() @ weights.double().t()).float() * scales


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("twice", [True, False])
@given(
    rows=ROWS, outputs=OUTPUTS, inputs=INPUTS, seed=st.integers(0, 2**31), scaled=st.booleans(), broken=st.booleans()
)
def test_it_is_what_its_parts_are(  # noqa: PLR0913, PLR0917 (a test's cases)
    way: ProductWay, dtype: torch.dtype, twice: bool, rows: int, outputs: int, inputs: int, seed: int, scaled: bool,
    broken: bool,
) -> None:  # fmt: skip
    """To the last bit, for every row; a broken row is NaN, and its neighbours are as ever."""
    weights, scales = levels_of(seed, outputs, inputs), drawn(seed + 1, outputs)
    given_rows, factors, bias = (
        drawn(seed + 2, rows, inputs).to(dtype),
        drawn(seed + 3, inputs),
        drawn(seed + 4, outputs),
    )
    if broken:
        given_rows[0, -1] = float("nan")
    by = factors if scaled else None
    levels, sizes = the_kernels().quantise(given_rows, by, twice=twice)
    expected = the_kernels().rescale(product(levels, weights, scales), sizes, bias if scaled else None, dtype)
    packed = Int8Weights(weights, scales, way)
    got = the_kernels().int8_linear(packed, given_rows, by, bias if scaled else None, twice=twice)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("way", WAYS)
@given(rows=ROWS, outputs=OUTPUTS, inputs=INPUTS, seed=st.integers(0, 2**31))
def test_levels_are_multiplied_exactly(way: ProductWay, rows: int, outputs: int, inputs: int, seed: int) -> None:
    """Without quantising, for rows of data types that the kernels do not read."""
    levels, weights, scales = levels_of(seed, rows, inputs), levels_of(seed + 1, outputs, inputs), drawn(seed, outputs)
    got = the_kernels().int8_product(Int8Weights(weights, scales, way), levels)
    torch.testing.assert_close(got, product(levels, weights, scales), rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_another_length_are_refused(way: ProductWay) -> None:
    """The kernel would read past their end."""
    packed = Int8Weights(levels_of(1, 16, 64), drawn(2, 16), way)
    with pytest.raises(ValueError, match="rows of 63 numbers for weights of 64"):
        the_kernels().int8_linear(packed, drawn(3, 2, 63), None, None, twice=False)


@NEEDS_AMX
def test_others_may_use_tiles_too() -> None:
    """PyTorch's products of bfloat16 set the shapes of tiles, and remember on each thread that they have."""
    wide, narrow = drawn(1, 64, 512).bfloat16(), drawn(2, 37, 512).bfloat16()
    packed = Int8Weights(levels_of(3, 96, 512), drawn(4, 96), ProductWay.AMX)
    ours, theirs = the_kernels().int8_linear(packed, narrow, None, None, twice=True), narrow @ wide.t()
    for _ in range(3):
        assert torch.equal(narrow @ wide.t(), theirs)
        assert torch.equal(the_kernels().int8_linear(packed, narrow, None, None, twice=True), ours)
