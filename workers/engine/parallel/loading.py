"""Loads a model in parts, one in each of several processes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.device import device_for
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load
from pelton.workers.engine.parallel.followers import WAIT_S, Followers
from pelton.workers.engine.parallel.messages import Done, Load


def start(
    ranks: int, device: str, on_lost: Callable[[Exception], None] = lambda _: None, wait_s: float = WAIT_S
) -> Followers:
    """The processes for `ranks` parts on the device that `model.device` names. Raises ModelLoadError."""
    kind = device_for(device).type
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" and cards:
        raise ModelLoadError(
            "engine.tensor_parallel: parts on the CPU are for machines without cards, for trying it out; set "
            "CUDA_VISIBLE_DEVICES to nothing, or model.device to cuda"
        )
    if kind == "cuda" and cards < ranks:
        raise ModelLoadError(
            f"engine.tensor_parallel: {ranks} parts need as many GPUs, and this worker sees {cards}; set it to at most "
            "that, or fewer worker.replicas"
        )
    return Followers.start(ranks, "cuda" if kind == "cuda" else "cpu", on_lost, wait_s)


def load_parts(spec: ModelSpec, cache_dir: Path | None, followers: Followers) -> LoadedModel:
    """This process's part, with a digest of the whole, once all ranks have theirs. Raises ModelLoadError."""
    if spec.weights != "auto":
        raise ModelLoadError("engine.weights: int8 cannot be computed in parts; set it to auto, or tensor_parallel to 1")
    if spec.gguf_file is not None or spec.path_or_id.endswith(".gguf"):
        raise ModelLoadError(
            "engine.tensor_parallel: parts are read from safetensors, and model.gguf_file names a GGUF file; set "
            "model.path to the model's safetensors, or engine.tensor_parallel to 1"
        )
    mine = replace(spec, ranks=followers.ranks)
    found: list[LoadedModel] = []

    def own() -> Done:
        found.append(load(mine, cache_dir))
        return Done(found[0].weights_digest)

    digests = [done.digest for done in followers.load(Load(mine, cache_dir), own)]
    return replace(found[0], weights_digest=hashlib.sha256(b"".join(digests)).digest())
