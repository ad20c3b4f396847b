"""A quantised checkpoint as a model: fp8 weights kept where products take them, all others unpacked while they load.

transformers is given tensors under the names of an unquantised checkpoint, so that it needs no package of a format's
makers, and joins the weights of experts as ever.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from pelton.workers.engine.layers.fp8_experts import experts_fit
from pelton.workers.engine.layers.fp8_products import cannot_multiply
from pelton.workers.engine.model.quantised.formats import format_of
from pelton.workers.engine.model.quantised.kept import KeptConfig, keepable, kept_tensors
from pelton.workers.engine.model.quantised.stored import Stored, by_layer, read_tensors
from pelton.workers.engine.model.text_model import auto_class

_GENERATION = "generation_config.json"


@dataclass(frozen=True, slots=True)
class QuantisedModel:
    """`info` is what transformers says of the loading; `source` names the format for the operator."""

    model: Any
    info: Mapping[str, Any]
    source: str
    kept: bool
    """Whether layers have their fp8 weights as they are stored."""


def read_quantised(  # noqa: PLR0913 (what a model is loaded by; all but the first by name)
    name: str,
    *,
    folder: Path,
    declared: Mapping[str, Any],
    dtype: torch.dtype,
    device: torch.device,
    keep: bool,
    options: Mapping[str, Any],
) -> QuantisedModel:
    """Load the model in `folder`, whose config.json has `declared` as its `quantization_config`.

    Where `keep`, fp8 weights stay what they are in layers that the device multiplies; all others are unpacked into
    `dtype`. Raises ModelLoadError for a format that is not read, and what transformers raises.
    """
    form = format_of(name, declared)
    config = AutoConfig.from_pretrained(folder, **options)
    for each in (config, config.get_text_config()):
        if hasattr(each, "quantization_config"):
            del each.quantization_config
    kind = auto_class(str(folder), **options)
    with torch.device("meta"):  # a shell without weights
        shell = kind.from_config(config, **options)
    with ExitStack() as files:
        stored = by_layer(name, form, read_tensors(folder, files))
        names, tensors = frozenset[str](), dict(stored.plain)
        used = frozenset[str]()
        if keep and kind is AutoModelForCausalLM:
            names, kept, used = _kept(shell, stored, device)
            tensors |= kept
        tensors |= {
            f"{layer}.weight": each.weight(dtype, device) for layer, each in stored.layers.items() if layer not in used
        }
        if names:
            config.quantization_config = KeptConfig.declared(names)
        model, info = type(shell).from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, device_map={"": device}, output_loading_info=True,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    if (folder / _GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return QuantisedModel(model, info, form.name, bool(names))


def _kept(shell: Any, stored: Stored, device: torch.device) -> tuple[frozenset[str], dict[str, Any], frozenset[str]]:
    names = keepable(shell, stored)
    if cannot_multiply(device, grouped=True) is not None:
        names = frozenset(name for name in names if not experts_fit(shell.get_submodule(name)))
    return names, *kept_tensors(shell, names, stored)
