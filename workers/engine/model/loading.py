"""Loading a model and its tokenizer: safetensors or GGUF, from a local folder or the model hub."""

import contextlib
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils import logging as transformers_logging

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers.attention import fuse_attentions
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.layers.mlp import fuse_mlps
from pelton.workers.engine.layers.norm import fuse_norms
from pelton.workers.engine.layers.packed_linear import pack_linears
from pelton.workers.engine.model.context import served_context
from pelton.workers.engine.model.device import device_for, dtype_for
from pelton.workers.engine.model.files.completeness import check_folder, check_loaded, declared_quantisation
from pelton.workers.engine.model.files.gguf_cache import GgufCache
from pelton.workers.engine.model.files.hub import ask_hub, download, is_quantised
from pelton.workers.engine.model.files.source import ModelSource, locate
from pelton.workers.engine.model.load_failures import explain
from pelton.workers.engine.model.positions import are_fixed, fix_positions
from pelton.workers.engine.model.quantised.formats import format_of
from pelton.workers.engine.model.quantised.precision import (
    FP8_NAME,
    Weights,
    check_weights,
    keeps_fp8,
    to_fp8,
    to_int8,
)
from pelton.workers.engine.model.quantised.reading import read_quantised
from pelton.workers.engine.model.sharding import keep_shard, kv_heads_per_rank, placement
from pelton.workers.engine.model.supported import unsupported_reason
from pelton.workers.engine.model.text_model import auto_class, text_model
from pelton.workers.engine.model.tokenizer import (
    check_vocabulary,
    eos_token_ids_of,
    pad_token_id_of,
    tokenizer_of,
)
from pelton.workers.engine.model.weights_digest import weights_digest

log = logging.getLogger(__name__)


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
    with _quiet():
        found = _load_through_cache(source, dtype, device, spec, cache_dir)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """`stored_as` and `kept` are those of a `QuantisedModel`."""

    model: Any
    tokenizer: Any
    stored_as: str = ""
    kept: bool = False


def _load_through_cache(
    source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec, cache_dir: Path | None
) -> _Found:
    if source.local_gguf is None or cache_dir is None:
        return _load_from(source, dtype, device, spec)
    copies = GgufCache(cache_dir)
    entry = copies.entry(source.local_gguf, str(dtype).removeprefix("torch."))
    if entry.is_dir():
        try:
            return _load_from(ModelSource(source.name, entry, None), dtype, device, spec)
        except ModelLoadError as error:
            copies.discard(entry, error)
    log.info("Converting %s; this is done once and takes a while.", source.local_gguf)
    found = _load_from(source, dtype, device, spec)

    def write(folder: Path) -> None:
        found.model.save_pretrained(folder)
        found.tokenizer.save_pretrained(folder)

    copies.store(entry, write)
    return found


def _load_from(source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec) -> _Found:
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if source.gguf_file is not None:
        options["gguf_file"] = source.gguf_file
    try:
        if source.folder is None:
            ask_hub(source.name, source.gguf_file)
            if source.gguf_file is None and is_quantised(source.name, options):
                source = replace(source, folder=download(source.name))
        if source.folder is not None and source.gguf_file is None:
            check_folder(source.name, source.folder)
            if declared := declared_quantisation(source.folder):
                format_of(source.name, declared)  # refused before anything is read
        tokenizer = tokenizer_of(source, options)
        found, info = _model_of(source, tokenizer, dtype, device, spec, options)
        check_loaded(source.name, info)
        check_vocabulary(source.name, found.model, tokenizer)
        if spec.ranks > 1:
            keep_shard(found.model, torch.distributed.get_rank(), spec.ranks)
    except ModelLoadError:
        raise
    except ImportError as error:
        raise ModelLoadError(f"model.path: loading {source.name} needs a missing package: {error}") from error
    except Exception as error:  # transformers, the hub client and the file readers raise all kinds
        raise ModelLoadError(explain(source, error)) from error
    return replace(found, model=text_model(found.model).eval())


def _model_of(  # noqa: PLR0913, PLR0917 (what a model is loaded by)
    source: ModelSource, tokenizer: Any, dtype: torch.dtype, device: torch.device, spec: ModelSpec, options: Any
) -> tuple[_Found, Any]:
    """And what transformers says of the loading; with sizes that differ ignored they are listed there."""
    declared = declared_quantisation(source.folder) if source.folder and source.gguf_file is None else None
    if source.folder and declared is not None:
        read = read_quantised(
            source.name, folder=source.folder, declared=declared, dtype=dtype, device=device,
            keep=keeps_fp8(spec.weights, device), options=options,
        )  # fmt: skip
        return _Found(read.model, tokenizer, read.source, read.kept), read.info
    if source.gguf_file is not None:
        # Without it transformers may leave the weights packed, whatever data type is asked for.
        options = {**options, "quantization_config": GgufConfig(dequantize=True)}
    loading = AutoModelForCausalLM if source.gguf_file else auto_class(source.path_or_id, **options)
    model, info = loading.from_pretrained(
        source.path_or_id,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **placement(spec.ranks, device),
        **options,
    )
    return _Found(model, tokenizer), info


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice on stderr; what matters is raised or logged by us."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        # The bar of the GGUF reader knows no switch.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
