"""Products of fp8 rows and fp8 weights by PyTorch's own `scaled_mm`.

A weight matrix has a scale for each output, and the rows of a step have one for each row, found as they come: a row's
result depends on no other row. Numbers keep three bits after the leading one (e4m3: Micikevicius et al.: "FP8 Formats
for Deep Learning", 2022), so each is off by up to 1/16 of itself, whatever its size beside the others.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
MULTIPLE = 16
"""cuBLAS and CUTLASS take matrices whose sizes are multiples of 16 numbers of a byte."""

_SMALLEST = 1e-30  # in place of the largest number of a row that is all zeros
_ROWWISE = functional.ScalingType.RowWise


def quantise(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """fp8 [..., n] and float32 scales [..., 1] whose product is near `numbers`; NaN where a vector has a NaN."""
    wide = numbers.float()
    scales = wide.abs().amax(dim=-1, keepdim=True).clamp(min=_SMALLEST) / LARGEST
    return (wide / scales).to(FP8), scales


def scaled_product(rows: Tensor, weights: Tensor, scales: Tensor) -> Tensor:
    """[n, out] from `rows` [n, in], fp8 `weights` [out, in] and float32 `scales` [out, 1].

    In float32 on a CPU, else in bfloat16, the one type that every card gives.
    """
    levels, sizes = quantise(rows)
    return _multiply(levels, sizes, weights, scales)


def grouped_product(rows: Tensor, weights: Tensor, scales: Tensor, ends: Tensor) -> Tensor:
    """The same for rows in groups, each with its own weights [groups, out, in] and scales [groups, out, 1].

    `ends` [groups], int32, says after which row each group ends. Rows after the last are not computed.
    """
    levels, sizes = quantise(rows)
    if rows.device.type != "cpu":
        product: Tensor = functional.scaled_grouped_mm(  # type: ignore[attr-defined] # left out of PyTorch's stubs
            levels, weights.transpose(-2, -1), sizes.squeeze(-1), _ROWWISE, scales.squeeze(-1), _ROWWISE, offs=ends,
            output_dtype=torch.bfloat16,
        )  # fmt: skip
        return product
    result = rows.new_zeros(len(rows), weights.shape[1], dtype=torch.float32)
    bounds = itertools.pairwise([0, *ends.tolist()])
    for group, (start, end) in enumerate(bounds):
        if end > start:
            result[start:end] = _multiply(levels[start:end], sizes[start:end], weights[group], scales[group])
    return result


def _multiply(levels: Tensor, sizes: Tensor, weights: Tensor, scales: Tensor) -> Tensor:
    # Sums are kept in float32: the faster way of Hopper cards keeps 14 bits of them.
    dtype = torch.float32 if levels.device.type == "cpu" else torch.bfloat16
    return functional.scaled_mm(levels, weights.t(), sizes, _ROWWISE, scales.t(), _ROWWISE, output_dtype=dtype)


def cannot_multiply(device: torch.device, *, grouped: bool = False) -> str | None:
    """Why this device does not compute such products, None where it does; only trying shows it.

    `grouped` tries products of experts as well, which more cards lack.
    """
    try:
        with torch.inference_mode():
            rows = torch.ones(MULTIPLE, MULTIPLE, device=device)
            weights, scales = quantise(rows)
            results = [scaled_product(rows, weights, scales)]
            if grouped:
                ends = torch.tensor([MULTIPLE], dtype=torch.int32, device=device)
                results.append(grouped_product(rows, weights[None], scales[None], ends))
            right = all(torch.allclose(each.float().cpu(), torch.full((), float(MULTIPLE))) for each in results)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None if right else "a product of ones is wrong"
