"""What the weights of a model are computed in (`engine.weights`), and whether its device has layers for that."""

import logging
from typing import Any, Literal

import torch

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers.fp8_experts import has_experts, quantise_experts
from pelton.workers.engine.layers.fp8_linear import quantise_to_fp8
from pelton.workers.engine.layers.fp8_products import MULTIPLE, cannot_multiply
from pelton.workers.engine.layers.int8_linear import quantise_linears
from pelton.workers.engine.layers.int8_products import kinds_here

log = logging.getLogger(__name__)

Weights = Literal["auto", "int8", "fp8"]

FP8_NAME = "fp8 (scaled_mm)"

# What a model reads once, so that int8 layers see which numbers are large in it whatever it reads.
_TYPICAL_TEXT = """The company reported revenue of $4.2 billion in fiscal 2019, up 12% from the prior year.
| Segment | 2019 | 2018 |
def main(): return [x * 2 for x in range(10)]
Dear Sir, we would like to know who wrote this letter, and why. Il était une fois; es war einmal.
{"name": "value", "items": [1, 2, 3]}"""
_TYPICAL_TOKENS = 96


def check_weights(weights: Weights, device: torch.device) -> None:
    """Raises ModelLoadError for weights that the device has no layers for: before minutes are spent on loading them."""
    if weights == "int8" and device.type != "cpu":
        raise ModelLoadError(
            f"engine.weights: int8 is for a CPU, and the model is on {device}; set engine.weights to auto, or "
            "model.device to cpu"
        )
    if weights != "fp8":
        return
    if reason := cannot_multiply(device):
        other = "auto or int8" if device.type == "cpu" else "auto"
        raise ModelLoadError(
            f"engine.weights: fp8 needs a device that multiplies it, such as a GPU of compute capability 8.9 or later, "
            f"and {device} does not ({reason}); set engine.weights to {other}"
        )


def keeps_fp8(weights: Weights, device: torch.device) -> bool:
    """Whether layers whose weights are stored in fp8 stay so: on a GPU that multiplies it, or where it is asked for."""
    return weights == "fp8" or (weights == "auto" and device.type == "cuda" and cannot_multiply(device) is None)


def to_int8(model: Any, tokenizer: Any) -> str:
    """Quantise the linear layers of a model on a CPU, in place; returns what they are now."""
    quantise_linears(model, typical_tokens(model, tokenizer))
    return f"int8 ({kinds_here()[0].__name__})"


def to_fp8(model: Any, device: torch.device) -> str:
    """Quantise the linear layers and experts of a model, in place; returns what they are now.

    Raises ModelLoadError where the device does not multiply experts in fp8.
    """
    if has_experts(model):
        if reason := cannot_multiply(device, grouped=True):
            raise ModelLoadError(
                "engine.weights: fp8 needs for a mixture of experts a device with products in groups (scaled_grouped_mm"
                f", a GPU of compute capability 9.0 or later), and {device} has none ({reason}); set engine.weights to "
                "auto"
            )
        quantise_experts(model)
    if left := quantise_to_fp8(model):
        log.warning("%d linear layers stay as they are: their sizes are no multiples of %d.", left, MULTIPLE)
    return FP8_NAME


def typical_tokens(model: Any, tokenizer: Any) -> torch.Tensor:
    """A text of several kinds, or any tokens where there is no tokenizer; [tokens]."""
    if tokenizer is not None:
        return torch.tensor(tokenizer(_TYPICAL_TEXT)["input_ids"])
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.get_input_embeddings().num_embeddings, (_TYPICAL_TOKENS,), generator=generator)
