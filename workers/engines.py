"""Builds the engine that the settings ask for. Imports torch only where a model is run."""

import logging
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pipeline.paths import cache_dir
from pipeline.settings import EngineSettings, ModelSettings, Settings
from workers.codec import Codec, SimulatedCodec, TokenizerCodec
from workers.engine.api import StepEngine
from workers.engine.simulated import SimulatedConfig, SimulatedEngine

log = logging.getLogger(__name__)

# A padded batch counts its padding and the tokens still to come, so it needs far more than a step does.
_PADDED_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Served:
    """An engine, the codec that speaks its tokens, and the name that requests call it by."""

    engine: StepEngine
    codec: Codec
    model_name: str


def build(settings: Settings) -> Served:
    """Load and return the engine. Slow for a real model. Raises the engine's own `ModelLoadError`."""
    if settings.engine.kind == "simulated":
        return Served(_simulated(settings.engine), SimulatedCodec(), settings.model.name)
    loaded = _load(settings.model)
    return Served(_engine(loaded, settings.engine), TokenizerCodec(loaded.tokenizer), settings.model.name)


def _simulated(settings: EngineSettings) -> StepEngine:
    limits: dict[str, Any] = (
        {} if settings.max_batch_tokens is None else {"max_batch_tokens": settings.max_batch_tokens}
    )
    return SimulatedEngine(SimulatedConfig(**settings.simulated.model_dump(), **limits))


def _load(model: ModelSettings) -> Any:
    loading = import_module("workers.engine.loading")
    spec = loading.ModelSpec(
        path_or_id=model.path,
        gguf_file=model.gguf_file,
        dtype=model.dtype,
        device=model.device,
        trust_remote_code=model.trust_remote_code,
    )
    return loading.load(spec, cache_dir() / "models")


def _engine(loaded: Any, settings: EngineSettings) -> StepEngine:
    """The engine that was asked for, or the padded one for a model that only it can run."""
    if settings.kind == "padded":
        return _padded(loaded, settings)
    reason = import_module("workers.engine.families").why_not(loaded.model)
    if reason is not None:
        log.warning("Using the padded engine, which is slower: this model cannot be batched otherwise, as %s.", reason)
        return _padded(loaded, settings)
    return _continuous(loaded, settings)


def _continuous(loaded: Any, settings: EngineSettings) -> StepEngine:
    config = import_module("workers.engine.kv_memory").ContinuousConfig(
        max_batch_tokens=settings.max_batch_tokens,
        max_running=settings.max_running,
        kv_memory_gib=settings.kv_memory_gib,
        page_size=settings.page_size,
        prefix_cache=settings.prefix_cache,
        batch_invariant=settings.batch_invariant,
    )
    engine: StepEngine = import_module("workers.engine.continuous").ContinuousEngine(loaded, config)
    return engine


def _padded(loaded: Any, settings: EngineSettings) -> StepEngine:
    padded = import_module("workers.engine.padded")
    config = padded.PaddedConfig(
        max_batch_tokens=settings.max_batch_tokens or _PADDED_BATCH_TOKENS,
        max_batch_size=settings.max_batch_size,
        max_batch_wait_s=settings.max_batch_wait_ms / 1000,
    )
    engine: StepEngine = padded.PaddedEngine(loaded, config)
    return engine
