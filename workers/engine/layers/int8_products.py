"""Products of int8 rows and int8 weights on a CPU: which kernel computes them here, and how large weights may be.

All kernels give the exact integer product, so an answer does not depend on which of them ran.

- `AmxProduct`, `VnniProduct`: our own, which quantise and scale back in the same call, on an x86 processor with AMX or
  AVX-512 VNNI where there is a C compiler.
- `OneDnnProduct`: oneDNN's, on an x86 processor that multiplies bytes and adds in one instruction (VNNI, AMX). It has
  the weights in the order in which it reads them.
- `FbgemmProduct`: FBGEMM's packed product, on any x86 with AVX2. Without VNNI it adds two products of bytes in 16 bits,
  which saturate where both are large. Scales are chosen so that no two neighbours can do that (`weight_scales`).
- `IntMmProduct`: `torch._int_mm`, which every build of PyTorch has. On an x86 processor it puts the weights in order at
  each call, and without VNNI it is a loop that is tens of times slower than float32.
"""

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pelton.workers.engine.native.int8_weights import Int8Weights, ProductWay
from pelton.workers.engine.native.kernels import kernels_for

ROW_LEVELS = 127
"""Rows are quantised to -127 .. 127."""

WEIGHT_LEVELS = 127

_PAIR_LEVELS = 127  # one less than fits, as both are rounded
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
_ZERO_POINT = 128  # FBGEMM takes rows as unsigned bytes


class Int8Product(Protocol):
    """int8 weights [out, in] in the order in which a kernel reads them, and float32 scales [out] of their outputs."""

    def __init__(self, weights: Tensor, scales: Tensor) -> None: ...

    def __call__(self, levels: Tensor) -> Tensor:
        """Float32 [n, out] from `levels` [n, in], whole numbers from -127 to 127 in int8 or float32."""


class NativeProduct:
    """By the kernels in C."""

    way: ProductWay

    def __init__(self, weights: Tensor, scales: Tensor) -> None:
        """Raises RuntimeError where `kinds_here` does not have it."""
        kernels = kernels_for(torch.float32, torch.device("cpu"))
        if kernels is None or kernels.way_of_products < self.way:
            raise RuntimeError(f"there is no {type(self).__name__} here")
        self._weights = Int8Weights(weights, scales, self.way)
        self._kernels = kernels

    def __call__(self, levels: Tensor) -> Tensor:
        return self._kernels.int8_product(self._weights, levels.to(torch.int8))

    def linear(self, rows: Tensor, factors: Tensor | None, bias: Tensor | None, *, twice: bool) -> Tensor:
        """[n, out] from float32 or bfloat16 [n, in] times `factors`; `twice` for what rounding leaves of them too."""
        return self._kernels.int8_linear(self._weights, rows, factors, bias, twice=twice)


class VnniProduct(NativeProduct):
    way = ProductWay.VNNI


class AmxProduct(NativeProduct):
    way = ProductWay.AMX


class OneDnnProduct:
    """By what TorchInductor compiles a quantised linear layer to on x86; there is no public name for it."""

    def __init__(self, weights: Tensor, scales: Tensor) -> None:
        self._weights = torch.ops.onednn.qlinear_prepack(weights, None)
        self._scales = scales
        self._zeros = torch.zeros(len(scales), dtype=torch.int64)
        self._multiply: Any = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, levels: Tensor) -> Tensor:
        rows = levels.to(torch.int8)
        product: Tensor = self._multiply(
            rows, 1.0, 0, self._weights, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


class IntMmProduct:
    """By PyTorch's own product of int8 matrices."""

    def __init__(self, weights: Tensor, scales: Tensor) -> None:
        self._weights = weights.t()
        self._scales = scales

    def __call__(self, levels: Tensor) -> Tensor:
        return torch._int_mm(levels.to(torch.int8), self._weights) * self._scales  # noqa: SLF001 (no public name)


class FbgemmProduct:
    """By FBGEMM, which makes bytes of the rows itself."""

    def __init__(self, weights: Tensor, scales: Tensor) -> None:
        engine = torch.backends.quantized.engine
        # It takes its weights as a quantised tensor, a kind that PyTorch deprecates for other uses.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            zeros = torch.zeros(len(weights), dtype=torch.int64)
            packable = torch._make_per_channel_quantized_tensor(weights, scales.double(), zeros, 0)  # noqa: SLF001 (likewise)
            torch.backends.quantized.engine = "fbgemm"
            try:
                self._weights = torch.ops.quantized.linear_prepack(packable, None)
            finally:
                torch.backends.quantized.engine = engine
        self._multiply: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, levels: Tensor) -> Tensor:
        product: Tensor = self._multiply(levels.float(), 1.0, _ZERO_POINT, self._weights)
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


def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN's product, and the processor what makes it exact."""
    return has_vnni() and torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")


def native_way() -> ProductWay:
    """How our own kernels multiply here."""
    kernels = kernels_for(torch.float32, torch.device("cpu"))
    return ProductWay.NONE if kernels is None else kernels.way_of_products


def kinds_here() -> list[type[Int8Product]]:
    """The kernels that this processor has, the fastest first."""
    kinds: dict[type[Int8Product], bool] = {
        AmxProduct: native_way() is ProductWay.AMX,
        VnniProduct: native_way() is not ProductWay.NONE,
        OneDnnProduct: has_onednn(),
        FbgemmProduct: has_fbgemm() and not has_vnni(),
        IntMmProduct: True,
    }
    return [kind for kind, there in kinds.items() if there]


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
