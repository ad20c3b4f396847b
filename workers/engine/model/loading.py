"""A model ready to run: read, made faster for its device, with what an engine has to know about it."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pelton.workers.engine.layers.attention import fuse_attentions
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.layers.mlp import fuse_mlps
from pelton.workers.engine.layers.norm import fuse_norms
from pelton.workers.engine.layers.packed_linear import pack_linears
from pelton.workers.engine.model.checkpoint import read_checkpoint
from pelton.workers.engine.model.context import served_context
from pelton.workers.engine.model.device import device_for, dtype_for
from pelton.workers.engine.model.files.source import locate
from pelton.workers.engine.model.positions import are_fixed, fix_positions
from pelton.workers.engine.model.quantised.precision import (
    FP8_NAME,
    Weights,
    check_weights,
    to_fp8,
    to_int8,
)
from pelton.workers.engine.model.sharding import kv_heads_per_rank
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.model.supported import unsupported_reason
from pelton.workers.engine.model.tokenizer import eos_token_ids_of, pad_token_id_of
from pelton.workers.engine.model.weights_digest import weights_digest
from pelton.workers.engine.native.kernels import kernels_for

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to run, its tokenizer (with a chat template), and what an engine has to know about both.

    `weights` says what linear layers were quantised to, and is empty where they were not.
    """

    model: Any
    tokenizer: Any
    context_length: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    dtype: torch.dtype
    device: torch.device
    weights_digest: bytes
    positions_for: int | None = None
    """The context for which positions were fixed that depend on it; None for all other models."""
    weights: str = ""
    stored_as: str = ""
    """The format of a quantised checkpoint; empty for all others."""
    kv_heads: int | None = None
    """Heads of keys and values in this process's part of the model; None: all that its config states."""


def load(spec: ModelSpec, cache_dir: Path | None = None) -> LoadedModel:
    """`read` a model and `prepare` it."""
    return prepare(read(spec, cache_dir), spec.weights)


def prepare(loaded: LoadedModel, weights: Weights = "auto") -> LoadedModel:
    """Replace layers of a model, in place, by others that compute the same faster on its device, or nearly the same
    from int8 or fp8 `weights`.

    Raises ModelLoadError for weights that its device has no layers for.
    """
    check_weights(weights, loaded.device)
    on_cpu = loaded.device.type == "cpu"
    kernels_for(loaded.dtype, loaded.device)  # compiled now, not during the first request
    if unsupported_reason(loaded.model) is None:
        if on_cpu:
            fuse_attentions(loaded.model)
            fuse_mlps(loaded.model)
            fuse_norms(loaded.model)
        fuse_linears(loaded.model)
    if weights == "int8":
        return replace(loaded, weights=to_int8(loaded.model, loaded.tokenizer))
    if weights == "fp8" and not loaded.weights:
        loaded = replace(loaded, weights=to_fp8(loaded.model, loaded.device))
    if on_cpu and loaded.weights:
        log.warning("fp8 on a CPU is for seeing what it does to answers: steps take many times as long as in int8.")
    if on_cpu:
        pack_linears(loaded.model)
    return loaded


def read(spec: ModelSpec, cache_dir: Path | None = None) -> LoadedModel:
    """A model as transformers loads it; quantised weights are unpacked into the asked data type, but for those of fp8
    where the device multiplies them.

    With `cache_dir`, an unpacked GGUF model is kept there, and later starts take a small part of the time.

    Raises ModelLoadError when a setting is wrong, or what it points at is missing, unreachable or no chat model.
    """
    started = time.perf_counter()
    device = device_for(spec.device)
    check_weights(spec.weights, device)
    dtype = dtype_for(spec.dtype, device)
    source = locate(spec.path_or_id, spec.gguf_file)
    found = read_checkpoint(source, dtype, device, spec, cache_dir)
    log.info("Loaded %s as %s on %s in %.1f s.", source.name, dtype, device, time.perf_counter() - started)
    loaded = wrap(found.model, found.tokenizer, spec.context_length)
    if spec.ranks > 1:
        loaded = replace(loaded, kv_heads=kv_heads_per_rank(found.model.config, spec.ranks))
    return replace(loaded, dtype=dtype, weights=FP8_NAME if found.kept else "", stored_as=found.stored_as)


def wrap(model: Any, tokenizer: Any = None, context_length: int | None = None) -> LoadedModel:
    """What an engine has to know about a model that is in memory. Without a tokenizer there are no stop strings.

    Positions that depend on the context served are fixed for it, in place.
    """
    eos_token_ids = eos_token_ids_of(model, tokenizer)
    length = served_context(model, tokenizer, context_length)
    fix_positions(model, length)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_length=length,
        eos_token_ids=eos_token_ids,
        pad_token_id=pad_token_id_of(tokenizer, eos_token_ids),
        dtype=model.dtype,
        device=model.device,
        weights_digest=weights_digest(model),
        positions_for=length if are_fixed(model) else None,
    )
