"""How formats store the weights of a linear layer, and the numbers that they stand for.

A layout names the tensors of a layer by what comes after its name, and gives back [out, in] in float32. What does not
look as documented is a `LayoutError`: a wrong scale gives answers that look right just often enough to be believed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, ...]

_WORD_BITS = 32
# Which column of eight each four bits of AWQ's words hold, from the lowest on, seen from the column.
_AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


class LayoutError(ValueError):
    """Tensors of a layer that are not as their format says."""


class Layout(Protocol):
    """One way of storing a layer's weights."""

    @property
    def needed(self) -> frozenset[str]:
        """The tensors that a quantised layer has; one that has none of them but a plain weight is not quantised."""

    @property
    def ignored(self) -> frozenset[str]:
        """Tensors that a layer may have besides, and that say nothing of its weights."""

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """[out, in] of the weights, from the tensors' shapes. Raises LayoutError."""

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Float32 [out, in]. Raises LayoutError."""


@dataclass(frozen=True, slots=True)
class ScaledWeights:
    """A byte for each weight, and a scale for each block of them.

    `block` is (rows, columns) of the weights, 0 for all: (0, 0) is one scale for the matrix, (1, 0) one for each
    output. Scales of activations that were measured beforehand are not needed, as rows are measured as they come.
    """

    dtype: torch.dtype
    block: tuple[int, int]
    scale: str = "weight_scale"
    needed: frozenset[str] = field(init=False)
    ignored: frozenset[str] = field(
        init=False, default=frozenset({"input_scale", "activation_scale", "input_zero_point", "input_scale_ub"})
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "needed", frozenset({"weight", self.scale}))

    @property
    def by_output(self) -> bool:
        """Whether there is at most one scale for each output, as products take them."""
        return self.block[1] == 0 and self.block[0] in (0, 1)

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        weight, scale = shapes["weight"], shapes[self.scale]
        if len(weight) != 2:  # noqa: PLR2004 (a matrix)
            raise LayoutError(f"has weights of shape {list(weight)}, which are no matrix")
        expected = self._scales(weight)
        flat = len(scale) < 2 and math.prod(scale) == math.prod(expected)  # noqa: PLR2004 (likewise)
        if scale != expected and not (flat and 1 in expected):
            raise LayoutError(f"has scales of shape {list(scale)} instead of {list(expected)}")
        return weight

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        self._check(parts["weight"])
        weight = parts["weight"].float()
        rows, columns = (size or whole for size, whole in zip(self.block, weight.shape, strict=True))
        scales = parts[self.scale].float().view(self._scales(tuple(weight.shape)))
        wide = scales.repeat_interleave(columns, dim=1)[:, : weight.shape[1]]
        return weight.mul_(wide.repeat_interleave(rows, dim=0)[: weight.shape[0]])

    def _check(self, weight: Tensor) -> None:
        if weight.dtype != self.dtype:
            raise LayoutError(f"has weights of {weight.dtype} instead of {self.dtype}")

    def _scales(self, weight: Shape) -> Shape:
        return tuple(math.ceil(whole / (size or whole)) for size, whole in zip(self.block, weight, strict=True))


def output_scales(scales: Tensor, outputs: int) -> Tensor:
    """Float32 [out, 1], from scales of which there is one for each output, or one."""
    return scales.float().view(-1, 1).expand(outputs, 1).contiguous()


@dataclass(frozen=True, slots=True)
class PackedIntegers:
    """compressed-tensors' whole numbers of a few bits, along the inputs, with a scale for each group of inputs."""

    bits: int
    group: int
    needed: frozenset[str] = field(init=False, default=frozenset({"weight_packed", "weight_scale", "weight_shape"}))
    ignored: frozenset[str] = field(init=False, default=frozenset())

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        packed, scale = shapes["weight_packed"], shapes["weight_scale"]
        inputs = packed[1] * _WORD_BITS // self.bits
        if scale != (packed[0], inputs // (self.group or inputs)) or inputs % (self.group or inputs):
            raise LayoutError(f"has scales of shape {list(scale)} for {packed[0]} outputs and {inputs} inputs")
        return packed[0], inputs

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        numbers = _unpack_words(parts["weight_packed"], self.bits).flatten(1) - 2 ** (self.bits - 1)
        if parts["weight_shape"].tolist() != list(numbers.shape):
            raise LayoutError(f"states the shape {parts['weight_shape'].tolist()} and has {list(numbers.shape)}")
        groups = parts["weight_scale"].shape[1]
        result: Tensor = numbers.unflatten(1, (groups, -1)) * parts["weight_scale"].float()[:, :, None]
        return result.flatten(1)


@dataclass(frozen=True, slots=True)
class Gptq:
    """GPTQ's (Frantar et al., 2022): words along the inputs, groups of inputs that `g_idx` names in any order.

    The older kind of file holds zero points less one (`zeros_less_one`).
    """

    bits: int
    group: int
    zeros_less_one: bool
    needed: frozenset[str] = field(init=False, default=frozenset({"qweight", "qzeros", "scales", "g_idx"}))
    ignored: frozenset[str] = field(init=False, default=frozenset())

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        words, outputs = shapes["qweight"]
        inputs = words * _WORD_BITS // self.bits
        groups = math.ceil(inputs / (self.group or inputs))
        if shapes["scales"] != (groups, outputs) or shapes["g_idx"] != (inputs,):
            raise LayoutError(
                f"has scales of shape {list(shapes['scales'])} and a g_idx of {list(shapes['g_idx'])} for {groups} "
                f"groups, {outputs} outputs and {inputs} inputs"
            )
        return outputs, inputs

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        numbers = _unpack_words(parts["qweight"].t(), self.bits).flatten(1)  # [out, in]
        zeros = _unpack_words(parts["qzeros"], self.bits).flatten(1)  # [groups, out]
        if self.zeros_less_one:
            if (zeros == 2**self.bits - 1).any():
                raise LayoutError("has zero points that two readers understand differently (qzeros of the older kind)")
            zeros = zeros + 1
        groups = parts["g_idx"].long()
        sizes = torch.bincount(groups.clamp(min=0), minlength=len(zeros)).tolist()
        full = self.group or len(groups)
        if int(groups.min()) < 0 or len(sizes) > len(zeros) or any(size != full for size in sizes[:-1]):
            raise LayoutError(f"has groups (g_idx) that are not of {full} inputs each")
        return (numbers - zeros.t()[:, groups]) * parts["scales"].float().t()[:, groups]


@dataclass(frozen=True, slots=True)
class Awq:
    """AWQ's (Lin et al., 2023) of the kind "gemm": four bits, words along the outputs, eight of which are shuffled."""

    group: int
    needed: frozenset[str] = field(init=False, default=frozenset({"qweight", "qzeros", "scales"}))
    ignored: frozenset[str] = field(init=False, default=frozenset())

    def shape(self, shapes: Mapping[str, Shape]) -> Shape:
        inputs, words = shapes["qweight"]
        outputs, groups = words * _WORD_BITS // 4, math.ceil(inputs / (self.group or inputs))
        if shapes["scales"] != (groups, outputs) or shapes["qzeros"] != (groups, words) or inputs % groups:
            raise LayoutError(f"has scales of shape {list(shapes['scales'])} for {groups} groups of {outputs} outputs")
        return outputs, inputs

    def unpack(self, parts: Mapping[str, Tensor]) -> Tensor:
        places = torch.tensor(_AWQ_PLACES, device=parts["qweight"].device)
        numbers, zeros = (_unpack_words(parts[name], 4)[..., places].flatten(1) for name in ("qweight", "qzeros"))
        each = len(numbers) // len(zeros)
        grouped = numbers.unflatten(0, (-1, each)) - zeros[:, None]
        result: Tensor = (grouped * parts["scales"].float()[:, None]).flatten(0, 1).t()
        return result


def _unpack_words(words: Tensor, bits: int) -> Tensor:
    """Unsigned numbers, as int32 [..., words, numbers in a word], from the lowest bits on."""
    if words.dtype != torch.int32:
        raise LayoutError(f"has packed words of {words.dtype} instead of torch.int32")
    shifts = torch.arange(0, _WORD_BITS, bits, device=words.device, dtype=torch.int32)
    numbers: Tensor = (words[..., None] >> shifts) & (2**bits - 1)
    return numbers
