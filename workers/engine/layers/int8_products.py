"""Products of int8 rows and int8 weights on a CPU: which kernel computes them here, and how large weights may be.

Both kernels give the exact integer product, so an answer does not depend on which of them ran.

- `IntMmProduct`: `torch._int_mm`, which oneDNN computes fast only on processors that multiply bytes and add in one
  instruction (VNNI, AMX). Elsewhere it falls back to a loop that is tens of times slower than float32.
- `FbgemmProduct`: FBGEMM's packed product, on any x86 with AVX2. Without VNNI it adds two products of bytes in 16 bits,
  which saturate where both are large. Scales are chosen so that no two neighbours can do that (`weight_scales`).
"""

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn

ROW_LEVELS = 127
"""Rows are quantised to -127 .. 127."""

WEIGHT_LEVELS = 127

_PAIR_LEVELS = 127  # one less than fits, as both are rounded
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
_ZERO_POINT = 128  # FBGEMM takes rows as unsigned bytes


class Int8Product(Protocol):
    """int8 weights [out, in], in the order in which a kernel reads them."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Float32 [n, out] from float32 `rows` [n, in] between -1 and 1, which count as round(127 x rows) / 127."""


class IntMmProduct:
    """By PyTorch's own product of int8 matrices."""

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights.t()

    def __call__(self, rows: Tensor) -> Tensor:
        quantised = torch.mul(rows, ROW_LEVELS).round_().to(torch.int8)
        return torch._int_mm(quantised, self._weights).float().mul_(1 / ROW_LEVELS)  # noqa: SLF001 (no public name)


class FbgemmProduct:
    """By FBGEMM, which quantises the rows itself."""

    def __init__(self, weights: Tensor) -> None:
        engine = torch.backends.quantized.engine
        # It takes its weights as a quantised tensor, a kind that PyTorch deprecates for other uses.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            ones = torch.ones(len(weights), dtype=torch.float64)
            zeros = torch.zeros(len(weights), dtype=torch.int64)
            packable = torch._make_per_channel_quantized_tensor(weights, ones, zeros, 0)  # noqa: SLF001 (no public name)
            torch.backends.quantized.engine = "fbgemm"
            try:
                self._weights = torch.ops.quantized.linear_prepack(packable, None)
            finally:
                torch.backends.quantized.engine = engine
        self._multiply: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, rows: Tensor) -> Tensor:
        product: Tensor = self._multiply(rows, 1 / ROW_LEVELS, _ZERO_POINT, self._weights)
        return product


def has_vnni() -> bool:
    """Whether this processor multiplies bytes and adds them to 32 bits in one instruction."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _VNNI)


def has_fbgemm() -> bool:
    """Whether this build of PyTorch has FBGEMM's product, and the processor what it needs."""
    return "fbgemm" in torch.backends.quantized.supported_engines and hasattr(
        torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32"
    )


def product_kind() -> type[IntMmProduct | FbgemmProduct]:
    """The faster kernel of this processor."""
    return FbgemmProduct if has_fbgemm() and not has_vnni() else IntMmProduct


def weight_scales(weights: Tensor) -> Tensor:
    """Scales [out] for float32 weights [out, in], so that every kernel of this processor multiplies them exactly.

    Where FBGEMM adds the products of two neighbours in 16 bits, the positive weights of a pair are together at most 128
    of their levels, and so are the negative ones: 255 x 128 < 2^15. Single weights have 127 levels each.
    """
    scales = weights.abs().amax(dim=1) / WEIGHT_LEVELS
    if has_vnni() or not has_fbgemm():
        return scales
    pairs = nn.functional.pad(weights, (0, weights.shape[1] % 2)).unflatten(1, (-1, 2))
    for signed in (pairs, -pairs):
        scales = torch.maximum(scales, signed.clamp(min=0).sum(dim=2).amax(dim=1) / _PAIR_LEVELS)
    return scales
