"""Loads a model in parts, one in each of several processes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.device import device_for
from pelton.workers.engine.model.files.source import locate
from pelton.workers.engine.model.load_failures import explain
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.sharding import check_plan
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.messages import Done, Load
from pelton.workers.engine.parallel.processes import RankProcess, abandon


def load_in_parts(
    spec: ModelSpec,
    processes: list[RankProcess],
    cache_dir: Path | None,
    on_lost: Callable[[Exception], None] = lambda _: None,
) -> tuple[LoadedModel, Followers]:
    """Load a part of a model here, and the others in the processes that `spawn` gave.

    Raises ModelLoadError, and leaves none of them then.
    """
    try:
        check(spec, len(processes) + 1)
    except BaseException:
        abandon(processes)
        raise
    followers = Followers.start(processes, device_for(spec.device).type, on_lost)
    try:
        return load_parts(spec, cache_dir, followers), followers
    except BaseException:
        followers.close()
        raise


def load_parts(spec: ModelSpec, cache_dir: Path | None, followers: Followers) -> LoadedModel:
    """Load a part in each rank; returns this one's, with a digest of the whole. Raises ModelLoadError."""
    mine = replace(spec, ranks=followers.ranks)
    found: list[LoadedModel] = []

    def own() -> Done:
        found.append(load(mine, cache_dir))
        return Done(found[0].weights_digest)

    digests = [done.digest for done in followers.load(Load(mine, cache_dir), own)]
    return replace(found[0], weights_digest=hashlib.sha256(b"".join(digests)).digest())


def check(spec: ModelSpec, ranks: int) -> None:
    """Raises ModelLoadError for what can be seen without reading weights."""
    _check_device(spec, ranks)
    if spec.weights != "auto":
        raise ModelLoadError(
            f"engine.weights: {spec.weights} cannot be computed in parts; set it to auto, or engine.tensor_parallel "
            "to 1"
        )
    source = locate(spec.path_or_id, spec.gguf_file)
    if source.gguf_file is not None:
        raise ModelLoadError(
            f"engine.tensor_parallel: parts are read from safetensors, and {source.gguf_file} is GGUF; set model.path "
            "to the model's safetensors, or engine.tensor_parallel to 1"
        )
    try:
        config = AutoConfig.from_pretrained(source.path_or_id, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # as wide as in `read`
        raise ModelLoadError(explain(source, error)) from error
    if getattr(config, "quantization_config", None):
        raise ModelLoadError(
            f"engine.tensor_parallel: {source.name} is quantised, and parts are read from plain weights only; set it "
            "to 1"
        )
    check_plan(config, ranks)


def _check_device(spec: ModelSpec, ranks: int) -> None:
    kind = device_for(spec.device).type
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" and cards:
        raise ModelLoadError(
            "engine.tensor_parallel: parts on the CPU are for machines without cards, to try it out; set "
            "CUDA_VISIBLE_DEVICES to nothing, or model.device to cuda"
        )
    if kind == "cuda" and cards < ranks:
        raise ModelLoadError(
            f"engine.tensor_parallel: {ranks} parts need as many GPUs, and this worker sees {cards}; set it to at most "
            "that, or lower worker.replicas"
        )
