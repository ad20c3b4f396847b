"""Layers whose fp8 weights stay as a checkpoint has them, from the file into the layer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from pelton.workers.engine.layers.fp8_experts import Fp8Experts, experts_fit
from pelton.workers.engine.layers.fp8_linear import Fp8Linear, fits
from pelton.workers.engine.layers.fp8_products import FP8
from pelton.workers.engine.layers.fused_linear import TOGETHER
from pelton.workers.engine.model.quantised.layouts import ScaledWeights, output_scales
from pelton.workers.engine.model.quantised.stored import Stored, StoredLayer, Unpacked

_METHOD = "pelton-fp8"
_GATE_UP, _DOWN = ("gate_proj", "up_proj"), ("down_proj",)


@register_quantization_config(_METHOD)
class KeptConfig(QuantizationConfigMixin):
    """Which layers of a model are of fp8, for the class below; transformers makes it from a dict."""

    def __init__(self, modules: list[str], **_: Any) -> None:
        self.quant_method = _METHOD
        self.modules = modules
        self.dequantize = True  # once the weights are there, the model is like any other

    @classmethod
    def declared(cls, modules: frozenset[str]) -> dict[str, Any]:
        """What a model's config has to hold."""
        return {"quant_method": _METHOD, "modules": sorted(modules)}


@register_quantizer(_METHOD)
class KeptQuantizer(HfQuantizer):
    """Puts empty layers of fp8 into a model before its weights are loaded, by transformers' own hook for that."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        for name in self.quantization_config.modules:
            module = model.get_submodule(name)
            empty = Fp8Experts.empty(module) if experts_fit(module) else Fp8Linear.empty(module)
            model.set_submodule(name, empty)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


def keepable(model: Any, stored: Stored) -> frozenset[str]:
    """The layers of `model` (its weights need not be there) that can take their fp8 weights as they are stored."""
    modules = dict(model.named_modules())
    linears = {name for name, module in modules.items() if fits(module) and _is_kept(stored.layers.get(name))}
    for parent in modules:
        for together in TOGETHER:  # joined later, which takes layers of one kind
            names = {f"{parent}.{name}" for name in together}
            if not names <= linears:
                linears -= names
    experts = {
        name
        for name, module in modules.items()
        if experts_fit(module)
        and all(_is_kept(stored.layers.get(each)) for each in _experts(name, len(module.gate_up_proj)))
    }
    return frozenset(linears | experts)


def kept_tensors(model: Any, names: frozenset[str], stored: Stored) -> tuple[dict[str, Any], frozenset[str]]:
    """The tensors of these layers, by the names that they have in the model, and the stored layers that they are of."""
    tensors: dict[str, Any] = {}
    used: set[str] = set()
    for name in names:
        module = model.get_submodule(name)
        if not experts_fit(module):
            layer = stored.layers[name]
            tensors |= {f"{name}.weight": layer.parts["weight"], f"{name}.weight_scale": _scales([[layer]])}
            used.add(name)
            continue
        for target, sources in (("gate_up_proj", _GATE_UP), ("down_proj", _DOWN)):
            layers = [
                [stored.layers[f"{name}.{expert}.{source}"] for source in sources]
                for expert in range(len(module.gate_up_proj))
            ]
            tensors |= {f"{name}.{target}": _weights(layers), f"{name}.{target}_scale": _scales(layers, stacked=True)}
        used.update(_experts(name, len(module.gate_up_proj)))
    return tensors, frozenset(used)


def _experts(name: str, count: int) -> list[str]:
    return [f"{name}.{expert}.{part}" for expert in range(count) for part in (*_GATE_UP, *_DOWN)]


def _is_kept(layer: StoredLayer | None) -> bool:
    if layer is None or not isinstance(layer.layout, ScaledWeights) or not layer.layout.by_output:
        return False
    return layer.layout.dtype == FP8 and layer.parts["weight"].get_dtype() == "F8_E4M3"


def _weights(layers: list[list[StoredLayer]]) -> Unpacked:
    """[experts, out, in] of fp8."""
    parts = {each.name: each.parts["weight"] for row in layers for each in row}

    def compute(read: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([torch.cat([read[each.name] for each in row]) for row in layers])

    return Unpacked(layers[0][0].name, parts, compute)


def _scales(layers: list[list[StoredLayer]], *, stacked: bool = False) -> Unpacked:
    """Float32 [out, 1], or [experts, out, 1]."""
    parts = {each.name: each.parts[_scale_name(each)] for row in layers for each in row}

    def compute(read: Mapping[str, Tensor]) -> Tensor:
        rows = [
            torch.cat([output_scales(read[each.name], each.parts["weight"].get_shape()[0]) for each in row])
            for row in layers
        ]
        return torch.stack(rows) if stacked else rows[0]

    return Unpacked(layers[0][0].name, parts, compute)


def _scale_name(layer: StoredLayer) -> str:
    return next(part for part in layer.parts if part != "weight")
