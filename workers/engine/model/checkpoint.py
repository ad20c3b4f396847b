"""Reads model and tokenizer with transformers: safetensors or GGUF, from a folder or the hub, quantised or not."""

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils import logging as transformers_logging

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.files.completeness import check_folder, check_loaded, declared_quantisation
from pelton.workers.engine.model.files.gguf_cache import GgufCache
from pelton.workers.engine.model.files.hub import ask_hub, download, is_quantised
from pelton.workers.engine.model.files.source import ModelSource
from pelton.workers.engine.model.load_failures import explain
from pelton.workers.engine.model.quantised.formats import format_of
from pelton.workers.engine.model.quantised.precision import keeps_fp8
from pelton.workers.engine.model.quantised.reading import read_quantised
from pelton.workers.engine.model.sharding import keep_shard, placement
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.model.text_model import auto_class, text_model
from pelton.workers.engine.model.tokenizer import check_vocabulary, tokenizer_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model and its tokenizer as they are stored; `stored_as` and `kept` are those of a `QuantisedModel`."""

    model: Any
    tokenizer: Any
    stored_as: str = ""
    kept: bool = False


def read_checkpoint(
    source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec, cache_dir: Path | None
) -> Checkpoint:
    """With `cache_dir`, an unpacked GGUF model is kept there, and read from there. Raises ModelLoadError."""
    with _quiet():
        return _read_through_cache(source, dtype, device, spec, cache_dir)


def _read_through_cache(
    source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec, cache_dir: Path | None
) -> Checkpoint:
    if source.local_gguf is None or cache_dir is None:
        return _read(source, dtype, device, spec)
    copies = GgufCache(cache_dir)
    entry = copies.entry(source.local_gguf, str(dtype).removeprefix("torch."))
    if entry.is_dir():
        try:
            return _read(ModelSource(source.name, entry, None), dtype, device, spec)
        except ModelLoadError as error:
            copies.discard(entry, error)
    log.info("Converting %s; this is done once and takes a while.", source.local_gguf)
    found = _read(source, dtype, device, spec)

    def write(folder: Path) -> None:
        found.model.save_pretrained(folder)
        found.tokenizer.save_pretrained(folder)

    copies.store(entry, write)
    return found


def _read(source: ModelSource, dtype: torch.dtype, device: torch.device, spec: ModelSpec) -> Checkpoint:
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
) -> tuple[Checkpoint, Any]:
    """And what transformers says of the loading; with sizes that differ ignored they are listed there."""
    declared = declared_quantisation(source.folder) if source.folder and source.gguf_file is None else None
    if source.folder and declared is not None:
        read = read_quantised(
            source.name, folder=source.folder, declared=declared, dtype=dtype, device=device,
            keep=keeps_fp8(spec.weights, device), options=options,
        )  # fmt: skip
        return Checkpoint(read.model, tokenizer, read.source, read.kept), read.info
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
    return Checkpoint(model, tokenizer), info


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
