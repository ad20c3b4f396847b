"""The tensors of a quantised checkpoint, by layer, and weights that are unpacked when they are asked for."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.files.completeness import looks_packed, some
from pelton.workers.engine.model.quantised.formats import Format
from pelton.workers.engine.model.quantised.layouts import Layout, LayoutError, Shape

_INDEX = "model.safetensors.index.json"


class Unpacked:
    """What transformers takes for a slice of a file: a tensor that is computed when it is read, and kept by nobody.

    No second copy of a model's weights is ever there, and unpacking is done on the device that they are for.
    """

    def __init__(self, name: str, parts: Mapping[str, Any], compute: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        self._name, self._parts, self._compute = name, parts, compute

    def __getitem__(self, index: Any) -> Tensor:
        """Raises ModelLoadError where the stored tensors are not as their format says."""
        try:
            return self._compute({name: part[...] for name, part in self._parts.items()})[index]
        except LayoutError as error:
            raise ModelLoadError(_not_as_documented(self._name, error)) from error

    def get_dtype(self) -> str:
        """In the words of the files: a type of floating point."""
        return "F32"


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A quantised linear layer: slices of files, by what comes after the layer's name."""

    name: str
    layout: Layout
    parts: Mapping[str, Any]

    def weight(self, dtype: torch.dtype, device: torch.device) -> Unpacked:
        """[out, in] in `dtype`, on `device`."""

        def compute(parts: Mapping[str, Tensor]) -> Tensor:
            return self.layout.unpack({name: part.to(device) for name, part in parts.items()}).to(dtype)

        return Unpacked(self.name, self.parts, compute)


@dataclass(frozen=True, slots=True)
class Stored:
    """All of a checkpoint: `plain` tensors by their names, and quantised layers by theirs."""

    plain: Mapping[str, Any]
    layers: Mapping[str, StoredLayer]


def read_tensors(folder: Path, files: ExitStack) -> dict[str, Any]:
    """Slices of the safetensors files in a folder, which are open as long as `files` is."""
    index = folder / _INDEX
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = sorted(file.name for file in folder.glob("*.safetensors"))
    tensors: dict[str, Any] = {}
    for name in names:
        file = files.enter_context(safe_open(folder / name, framework="pt"))
        tensors |= {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    if not tensors:
        raise ModelLoadError(f"model.path: {folder} holds no *.safetensors, as which alone quantised weights are read")
    return tensors


def by_layer(name: str, form: Format, tensors: Mapping[str, Any]) -> Stored:
    """Tell quantised layers from plain tensors.

    Raises ModelLoadError for scales and packed weights that are not all of a layer of this format.
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        layer, _, part = key.rpartition(".")
        parts.setdefault(layer, {})[part] = tensor
    layers: dict[str, StoredLayer] = {}
    plain: dict[str, Any] = {}
    for layer, own in parts.items():
        left = dict(own)
        if layout := next((each for each in form.layouts if each.needed <= own.keys()), None):
            layers[layer] = _checked(name, StoredLayer(layer, layout, {part: own[part] for part in layout.needed}))
            left = {part: own[part] for part in own.keys() - layout.needed - layout.ignored}
        plain |= {f"{layer}.{part}".removeprefix("."): tensor for part, tensor in left.items()}
    if strange := sorted(key for key, tensor in plain.items() if looks_packed(key, tensor.get_dtype())):
        raise ModelLoadError(
            f"model.path: {name} is declared as {form.name}, and holds packed weights or scales that are not of that "
            f"format ({some(strange)}); set model.path to an unquantised copy of the model"
        )
    return Stored(plain, layers)


def shapes_of(parts: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: tuple(part.get_shape()) for name, part in parts.items()}


def _checked(name: str, layer: StoredLayer) -> StoredLayer:
    try:
        layer.layout.shape(shapes_of(layer.parts))
    except (LayoutError, ValueError, IndexError) as error:
        raise ModelLoadError(_not_as_documented(f"{name}: {layer.name}", error)) from error
    return layer


def _not_as_documented(name: str, error: Exception) -> str:
    return (
        f"model.path: {name} {error}, which is not as its quantization_config says; set model.path to a complete copy, "
        "or to an unquantised one"
    )
