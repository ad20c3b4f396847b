"""Loads a model in parts, one in each of several processes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.device import device_for
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load
from pelton.workers.engine.model.load_failures import explain
from pelton.workers.engine.model.sharding import check_plan
from pelton.workers.engine.model.source import locate
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


def load_in_parts(
    spec: ModelSpec, ranks: int, cache_dir: Path | None, on_lost: Callable[[Exception], None] = lambda _: None
) -> tuple[LoadedModel, Followers]:
    """`start` as many processes as there are `ranks`, and `load_parts`. Raises ModelLoadError, and leaves none then."""
    _check(spec, ranks)
    followers = start(ranks, spec.device, on_lost)
    try:
        return load_parts(spec, cache_dir, followers), followers
    except BaseException:
        followers.close()
        raise


def load_parts(spec: ModelSpec, cache_dir: Path | None, followers: Followers) -> LoadedModel:
    """This process's part, with a digest of the whole, once all ranks have theirs. Raises ModelLoadError."""
    mine = replace(spec, ranks=followers.ranks)
    found: list[LoadedModel] = []

    def own() -> Done:
        found.append(load(mine, cache_dir))
        return Done(found[0].weights_digest)

    digests = [done.digest for done in followers.load(Load(mine, cache_dir), own)]
    return replace(found[0], weights_digest=hashlib.sha256(b"".join(digests)).digest())


def _check(spec: ModelSpec, ranks: int) -> None:
    """Raises ModelLoadError for what can be seen without weights."""
    if spec.weights != "auto":
        raise ModelLoadError("engine.weights: int8 cannot be computed in parts; set it to auto, or tensor_parallel to 1")
    if locate(spec.path_or_id, spec.gguf_file).gguf_file is not None:
        raise ModelLoadError(
            "engine.tensor_parallel: parts are read from safetensors, and model.gguf_file names a GGUF file; set "
            "model.path to the model's safetensors, or engine.tensor_parallel to 1"
        )
    source = locate(spec.path_or_id, spec.gguf_file)
    try:
        config = AutoConfig.from_pretrained(source.path_or_id, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # as wide as in `read`
        raise ModelLoadError(explain(source, error)) from error
    check_plan(config, ranks)
