"""Quantised checkpoints that are not read are refused by name, with what to do instead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import read
from pelton.workers.engine.model.quantised.formats import format_of
from tests.unit.workers.engine._support.quantised_cases import AWQ, CASES, CHANNEL, FINE, FP8, GPTQ, saved, spec
from tests.unit.workers.engine._support.quantised_checkpoints import compressed, declare
from tests.unit.workers.engine._support.saved_model import save_model


def weights_of(**weights: Any) -> dict[str, Any]:
    return compressed("float-quantized", **{**FP8, "strategy": "channel", **weights})


REFUSED = {
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"bitsandbytes of 4 bits, which is not"),
    "mxfp4": ({"quant_method": "mxfp4"}, "mxfp4, which is not read"),
    "modelopt": ({"quant_method": "modelopt"}, "modelopt, which is not read"),
    "torchao": ({"quant_method": "torchao"}, "torchao, which is not read"),
    "unnamed": ({"bits": 4}, "an unnamed method, which is not read"),
    "scales of keys": (CHANNEL | {"kv_cache_scheme": FP8}, r"scales for keys and values \(kv_cache_scheme\)"),
    "rotations": (CHANNEL | {"transform_config": {"config_groups": {"R1": {}}}}, "rotations of activations"),
    "sparse": (CHANNEL | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse weights .sparse-24-bitmask"),
    "zero points": (weights_of(symmetric=False), r"zero points \(symmetric: false\)"),
    "order by group": (weights_of(actorder="group"), r"columns in another order \(actorder: group\)"),
    "nvfp4": (
        compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group"), "scales by tensor_group"
    ),
    "marlin": (
        compressed("marlin-24", num_bits=4, type="int", strategy="channel"), r"weights in the format marlin"
    ),
    "mixed": (
        CHANNEL | {"config_groups": {
            "a": weights_of()["config_groups"]["group_0"],
            "b": weights_of(strategy="tensor")["config_groups"]["group_0"],
        }}, "2 different schemes",
    ),
    "e5m2": (FINE | {"fmt": "e5m2"}, "numbers of the type e5m2"),
    "gptq of 3 bits": (GPTQ | {"bits": 3}, "gptq, and has 3 bits"),
    "gptq by layer": (GPTQ | {"dynamic": {"-:.*": {}}}, "other sizes in some layers"),
    "gptq marlin": (GPTQ | {"checkpoint_format": "marlin"}, "the checkpoint format marlin"),
    "awq gemv": (AWQ | {"version": "gemv"}, 'the kind "gemv"'),
    "not as documented": ({"quant_method": "gptq"}, "not as documented"),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "words"), REFUSED.values(), ids=REFUSED)
def test_other_formats_are_refused_by_name(declared: dict[str, Any], words: str) -> None:
    """With what the format has that is not read, and what to set instead."""
    with pytest.raises(ModelLoadError, match=words) as refusal:
        format_of("m", declared)
    message = str(refusal.value)
    assert message.startswith("model.path: m is quantised by ")
    assert "set model.path to an unquantised copy of the model, or to one quantised by compressed-tensors" in message


DAMAGES: dict[str, tuple[str, Callable[[dict[str, Tensor], str], object], str]] = {
    "no scale": ("compressed fp8 channel", lambda all_, name: all_.pop(f"{name}.weight_scale"), "not of that format"),
    "no weight": ("compressed fp8 channel", lambda all_, name: all_.pop(f"{name}.weight"), "not of that format"),
    "short scale": (
        "compressed fp8 channel",
        lambda all_, name: all_.update({f"{name}.weight_scale": torch.ones(3, 1)}), r"scales of shape \[3, 1\] instead",
    ),
    "wide type": (
        "compressed fp8 channel",
        lambda all_, name: all_.update({f"{name}.weight": all_[f"{name}.weight"].half()}), "torch.float16 instead of",
    ),
    "scales of keys": (
        "compressed fp8 channel",
        lambda all_, _: all_.update({"model.layers.0.self_attn.k_scale": torch.ones(1)}), r"k_scale.*unquantised copy",
    ),
    "block scales of another size": (
        "fine-grained",
        lambda all_, name: all_.update({f"{name}.weight_scale_inv": torch.ones(4, 4)}), r"\[4, 4\] instead of \[1, 2\]",
    ),
    "uneven groups": (
        "gptq", lambda all_, name: all_[f"{name}.g_idx"].fill_(0), r"groups \(g_idx\) that are not of 16 inputs each",
    ),
    "zero points of two meanings": ("gptq", lambda all_, name: all_[f"{name}.qzeros"].fill_(-1), "readers understand"),
    "another shape": (
        "compressed int4",
        lambda all_, name: all_.update({f"{name}.weight_shape": torch.tensor([32, 40])}), r"the shape \[32, 40\]",
    ),
    "zero points": (
        "compressed int4",
        lambda all_, name: all_.update({f"{name}.weight_zero_point": torch.zeros(4, 3)}), "weight_zero_point",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_tensors_that_are_not_as_declared_are_named(
    tmp_path: Path, case: str, damage: Callable[[dict[str, Tensor], str], object], words: str
) -> None:
    """A scale that is missing, or of another layout, is never guessed."""
    folder, _ = saved(tmp_path, CASES[case])
    tensors = {name: each.clone() for name, each in load_file(folder / "model.safetensors").items()}
    damage(tensors, "model.layers.0.mlp.down_proj")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=words) as refusal:
        read(spec(folder))
    assert str(refusal.value).startswith("model.path: ")


def test_an_unread_format_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    """At the start, by the name of the format."""
    save_model(tmp_path)
    declare(tmp_path, {"quant_method": "hqq"})
    with pytest.raises(ModelLoadError, match=r"model\.path: .* is quantised by hqq, which is not read here"):
        read(spec(tmp_path))
