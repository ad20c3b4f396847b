"""Checkpoints in the layouts of others, written number by number as their makers document them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
GROUP = 16
_AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)  # of eight, in the order of the words' bits


@dataclass(frozen=True, slots=True)
class Written:
    """What a format stores for a layer, by what comes after its name, and the float32 numbers that it means."""

    stored: Tensors
    means: Tensor


Writer = Callable[[Tensor], Written]


def by_blocks(rows: int, columns: int, scale_name: str = "weight_scale", **extra: Tensor) -> Writer:
    """fp8, with a scale for each block; 0 is all."""

    def write(weight: Tensor) -> Written:
        height, width = rows or len(weight), columns or weight.shape[1]
        stored, means = torch.empty(weight.shape, dtype=torch.float8_e4m3fn), torch.empty_like(weight)
        scales = torch.empty(-(-len(weight) // height), -(-weight.shape[1] // width))
        for row in range(scales.shape[0]):
            for column in range(scales.shape[1]):
                area = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
                scales[row, column] = weight[area].abs().max() / 448
                stored[area] = (weight[area] / scales[row, column]).to(torch.float8_e4m3fn)
                means[area] = stored[area].float() * scales[row, column]
        kept = scales.reshape(1) if not rows and not columns else scales
        more = {name: each.clone() for name, each in extra.items()}
        return Written({"weight": stored, scale_name: kept, **more}, means)

    return write


def int8_by_output(weight: Tensor) -> Written:
    scales = weight.abs().amax(dim=1, keepdim=True) / 127
    stored = (weight / scales).round().to(torch.int8)
    return Written({"weight": stored, "weight_scale": scales}, stored.float() * scales)


def compressed_int4(weight: Tensor) -> Written:
    """Offset by 8, eight in a word along the inputs."""
    grouped = weight.unflatten(1, (-1, GROUP))
    scales = grouped.abs().amax(dim=2) / 7
    numbers = (grouped / scales[:, :, None]).round().clamp(-8, 7)
    stored = {
        "weight_packed": _pack((numbers + 8).flatten(1)), "weight_scale": scales,
        "weight_shape": torch.tensor(weight.shape),
    }  # fmt: skip
    return Written(stored, (numbers * scales[:, :, None]).flatten(1))


def gptq(*, bits: int = 4, shuffled: bool = False, less_one: bool = True) -> Writer:
    """Words along the inputs, and zero points along the outputs."""

    def write(weight: Tensor) -> Written:
        inputs = weight.shape[1]
        groups = torch.arange(inputs) // GROUP
        if shuffled:
            groups = groups[torch.randperm(inputs, generator=torch.Generator().manual_seed(3))]
        top = 2**bits - 1
        scales, zeros = (torch.empty(int(groups.max()) + 1, len(weight)) for _ in range(2))
        numbers = torch.empty(weight.shape)
        for group in range(len(scales)):
            own = weight[:, groups == group]
            low, high = own.min(dim=1).values.clamp(max=0), own.max(dim=1).values.clamp(min=0)
            scales[group] = ((high - low) / top).half().float()
            zeros[group] = (-low / scales[group]).round().clamp(1, top)
            numbers[:, groups == group] = (own / scales[group][:, None] + zeros[group][:, None]).round().clamp(0, top)
        stored = {
            "qweight": _pack(numbers, bits).t().contiguous(), "qzeros": _pack(zeros - int(less_one), bits),
            "scales": scales.half(), "g_idx": groups.int(),
        }  # fmt: skip
        return Written(stored, (numbers - zeros.t()[:, groups]) * scales.t()[:, groups])

    return write


def awq(weight: Tensor) -> Written:
    """Words along the outputs, eight of which are shuffled."""
    grouped = weight.unflatten(1, (-1, GROUP))
    low, high = grouped.amin(dim=2).clamp(max=0), grouped.amax(dim=2).clamp(min=0)
    scales = ((high - low) / 15).half().float()
    zeros = (-low / scales).round().clamp(0, 15)
    numbers = (grouped / scales[:, :, None] + zeros[:, :, None]).round().clamp(0, 15)
    stored = {
        "qweight": _pack(_shuffled(numbers.flatten(1).t())), "qzeros": _pack(_shuffled(zeros.t())),
        "scales": scales.t().half().contiguous(),
    }  # fmt: skip
    return Written(stored, ((numbers - zeros[:, :, None]) * scales[:, :, None]).flatten(1))


def _shuffled(numbers: Tensor) -> Tensor:
    return numbers.unflatten(1, (-1, 8))[:, :, list(_AWQ_COLUMNS)].flatten(1)


def _pack(numbers: Tensor, bits: int = 4) -> Tensor:
    """Along the last dimension, from the lowest bits on."""
    packed = [
        [sum(int(each) << bits * place for place, each in enumerate(word)) for word in row]
        for row in numbers.unflatten(1, (-1, 32 // bits)).tolist()
    ]
    return torch.tensor(packed).to(torch.int32)  # what is above 2^31 wraps, as the makers' does


def rewrite(folder: Path, into: Path, writer: Writer, declared: dict[str, Any]) -> None:
    """Quantise the linear layers of the saved model in `folder`, all but the last, into the folder `into`.

    The model in `folder` then has the numbers that are meant.
    """
    into.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (into / file.name).write_bytes(file.read_bytes())
    stored, meant = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            written = writer(tensor.float())
            stored |= {name.removesuffix("weight") + part: each for part, each in written.stored.items()}
            meant[name] = written.means
        else:
            stored[name] = meant[name] = tensor.clone()
    save_file(stored, into / "model.safetensors", metadata={"format": "pt"})
    save_file(meant, folder / "model.safetensors", metadata={"format": "pt"})
    declare(into, declared)


def declare(folder: Path, quantisation: dict[str, Any]) -> None:
    config = folder / "config.json"
    content = json.loads(config.read_text()) | {"quantization_config": quantisation}
    config.write_text(json.dumps(content))


def compressed(form: str, *, activations: dict[str, Any] | None = None, **weights: Any) -> dict[str, Any]:
    """The declaration of compressed-tensors."""
    group = {"targets": ["Linear"], "weights": {"symmetric": True, "dynamic": False, **weights}}
    return {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
        "ignore": ["lm_head"], "kv_cache_scheme": None,
        "config_groups": {"group_0": {**group, "input_activations": activations}},
    }  # fmt: skip
