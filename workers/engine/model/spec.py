"""What is asked for when a model is loaded."""

from dataclasses import dataclass
from typing import Literal

from pelton.workers.engine.model.quantised.precision import Weights


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model to load and how. `path_or_id` is a folder, a hub id, or `DEFAULT_MODEL`.

    `context_length` bounds prompt and answer together; None is what model and tokenizer state.
    `dtype` "auto" is bfloat16 where the device computes it natively, else float32; `device` "auto" is CUDA if present.
    `weights` "auto" keeps them in `dtype`, and those of an fp8 checkpoint in fp8 on a GPU that multiplies it; "int8"
    quantises those of linear layers, on a CPU; "fp8" does where the device multiplies it.
    """

    path_or_id: str
    gguf_file: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False
    context_length: int | None = None
    weights: Weights = "auto"
    ranks: int = 1
    """Of how many parts this process loads the one that its place in PyTorch's process group gives it."""
