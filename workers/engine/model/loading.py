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
from pelton.workers.engine.layers.int8_linear import quantise_linears
from pelton.workers.engine.layers.int8_products import product_kind
from pelton.workers.engine.layers.mlp import fuse_mlps
from pelton.workers.engine.layers.norm import fuse_norms
from pelton.workers.engine.layers.packed_linear import pack_linears
from pelton.workers.engine.model.completeness import check_folder, check_loaded
from pelton.workers.engine.model.context import served_context
from pelton.workers.engine.model.device import device_for, dtype_for
from pelton.workers.engine.model.gguf_cache import GgufCache
from pelton.workers.engine.model.hub import ask_hub
from pelton.workers.engine.model.load_failures import explain
from pelton.workers.engine.model.positions import are_fixed, fix_positions
from pelton.workers.engine.model.sharding import keep_shard, kv_heads_per_rank, placement
from pelton.workers.engine.model.source import ModelSource, locate
from pelton.workers.engine.model.supported import unsupported_reason
from pelton.workers.engine.model.text_model import auto_class, text_model
from pelton.workers.engine.model.tokenizer import tokenizer_of
from pelton.workers.engine.model.weights_digest import weights_digest

log = logging.getLogger(__name__)

# What a model reads once, so that int8 layers see which numbers are large in it whatever it reads.
_TYPICAL_TEXT = """The company reported revenue of $4.2 billion in fiscal 2019, up 12% from the prior year.
| Segment | 2019 | 2018 |
def main(): return [x * 2 for x in range(10)]
Dear Sir, we would like to know who wrote this letter, and why. Il était une fois; es war einmal.
{"name": "value", "items": [1, 2, 3]}"""
_TYPICAL_TOKENS = 96


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model to load and how. `path_or_id` is a folder, a hub id, or `DEFAULT_MODEL`.

    `context_length` bounds prompt and answer together; None is what model and tokenizer state.
    `dtype` "auto" is bfloat16 where the device computes it natively, else float32; `device` "auto" is CUDA if present.
    `weights` "auto" keeps them in `dtype`; "int8" quantises those of linear layers, on a CPU.
    """

    path_or_id: str
    gguf_file: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False
    context_length: int | None = None
    weights: Literal["auto", "int8"] = "auto"
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
    kv_heads: int | None = None
    """Heads of keys and values in this process's part of the model; None: all that its config states."""


def load(spec: ModelSpec, cache_dir: Path | None = None) -> LoadedModel:
    """`read` a model and `prepare` it."""
    return prepare(read(spec, cache_dir), spec.weights)


def prepare(loaded: LoadedModel, weights: Literal["auto", "int8"] = "auto") -> LoadedModel:
    """Replace layers of a model, in place, by others that compute the same faster on its device, or nearly the same
    from int8 `weights`.

    Raises ModelLoadError for weights that its device has no layers for.
    """
    if weights == "int8" and loaded.device.type != "cpu":
        raise ModelLoadError(
            f"engine.weights: int8 is for a CPU, and the model is on {loaded.device}; set engine.weights to auto, or "
            "model.device to cpu"
        )
    if unsupported_reason(loaded.model) is None:
        if loaded.device.type == "cpu":
            fuse_attentions(loaded.model)
            fuse_mlps(loaded.model)
            fuse_norms(loaded.model)
        fuse_linears(loaded.model)
    if weights == "int8":
        quantise_linears(loaded.model, _typical_tokens(loaded))
        return replace(loaded, weights=f"int8 ({product_kind().__name__})")
    if loaded.device.type == "cpu":
        pack_linears(loaded.model)
    return loaded


def _typical_tokens(loaded: LoadedModel) -> torch.Tensor:
    """A text of several kinds, or any tokens where there is no tokenizer; [tokens]."""
    if loaded.tokenizer is not None:
        return torch.tensor(loaded.tokenizer(_TYPICAL_TEXT)["input_ids"])
    generator = torch.Generator().manual_seed(0)
    return torch.randint(loaded.model.get_input_embeddings().num_embeddings, (_TYPICAL_TOKENS,), generator=generator)


def read(spec: ModelSpec, cache_dir: Path | None = None) -> LoadedModel:
    """A model as transformers loads it; GGUF weights are unpacked into the asked data type.

    With `cache_dir`, an unpacked GGUF model is kept there, and later starts take a small part of the time.

    Raises ModelLoadError when a setting is wrong, or what it points at is missing, unreachable or no chat model.
    """
    started = time.perf_counter()
    device = device_for(spec.device)
    dtype = dtype_for(spec.dtype, device)
    source = locate(spec.path_or_id, spec.gguf_file)
    with _quiet():
        model, tokenizer = _load_through_cache(source, dtype, device, spec, cache_dir)
    log.info("Loaded %s as %s on %s in %.1f s.", source.name, dtype, device, time.perf_counter() - started)
    loaded = wrap(model, tokenizer, spec.context_length)
    return loaded if spec.ranks == 1 else replace(loaded, kv_heads=kv_heads_per_rank(model.config, spec.ranks))


def wrap(model: Any, tokenizer: Any = None, context_length: int | None = None) -> LoadedModel:
    """What an engine has to know about a model that is in memory. Without a tokenizer there are no stop strings.

    Positions that depend on the context served are fixed for it, in place.
    """
    eos_token_ids = _eos_token_ids(model, tokenizer)
    length = served_context(model, tokenizer, context_length)
    fix_positions(model, length)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_length=length,
        eos_token_ids=eos_token_ids,
        pad_token_id=_pad_token_id(tokenizer, eos_token_ids),
        dtype=model.dtype,
        device=model.device,
        weights_digest=weights_digest(model),
        positions_for=length if are_fixed(model) else None,
    )


def _load_through_cache(
    source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec, cache_dir: Path | None
) -> tuple[Any, Any]:
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
    model, tokenizer = _load_from(source, dtype, device, spec)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    copies.store(entry, write)
    return model, tokenizer


def _load_from(source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec) -> tuple[Any, Any]:
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if source.gguf_file is not None:
        options["gguf_file"] = source.gguf_file
    try:
        if source.folder is None:
            ask_hub(source.name, source.gguf_file)
        elif source.gguf_file is None:
            check_folder(source.name, source.folder)
        tokenizer = tokenizer_of(source, options)
        if source.gguf_file is not None:
            # Without it transformers may leave the weights packed, whatever data type is asked for.
            options["quantization_config"] = GgufConfig(dequantize=True)
        loading = AutoModelForCausalLM if source.gguf_file else auto_class(source.path_or_id, **options)
        # With sizes that differ ignored they are listed in `info`, and refused by their names.
        model, info = loading.from_pretrained(
            source.path_or_id,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **placement(spec.ranks, device),
            **options,
        )
        check_loaded(source.name, info)
        _check_vocabulary(source, model, tokenizer)
        if spec.ranks > 1:
            keep_shard(model, torch.distributed.get_rank(), spec.ranks)
    except ModelLoadError:
        raise
    except ImportError as error:
        raise ModelLoadError(f"model.path: loading {source.name} needs a missing package: {error}") from error
    except Exception as error:  # transformers, the hub client and the file readers raise all kinds
        raise ModelLoadError(explain(source, error)) from error
    return text_model(model).eval(), tokenizer


def _check_vocabulary(source: ModelSource, model: Any, tokenizer: Any) -> None:
    """A token without a row in the embedding would end the step it is in, and everybody's answer with it."""
    rows = model.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise ModelLoadError(
            f"model.path: the tokenizer of {source.name} has token ids up to {highest}, its model only {rows}; put the "
            "tokenizer that belongs to the weights into the folder"
        )


def _eos_token_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's and the generation config's; some models (GLM) end a turn with any of several."""
    configured = model.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(getattr(tokenizer, "eos_token_id", None))
    return tuple(sorted(ids - {None}))


def _pad_token_id(tokenizer: Any, eos_token_ids: tuple[int, ...]) -> int:
    # Padding is masked out everywhere, so any valid id will do for tokenizers without one.
    stated = getattr(tokenizer, "pad_token_id", None)
    return next((token for token in (stated, *eos_token_ids) if token is not None), 0)


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
