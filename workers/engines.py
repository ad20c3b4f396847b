"""Builds the engine that the settings ask for. Imports torch only where a model is run."""

from dataclasses import dataclass
from importlib import import_module

from pipeline.paths import cache_dir
from pipeline.settings import Settings
from workers.codec import Codec, SimulatedCodec, TokenizerCodec
from workers.engine.api import Engine
from workers.engine.simulated import SimulatedConfig, SimulatedEngine


@dataclass(frozen=True, slots=True)
class Served:
    """An engine, the codec that speaks its tokens, and the name that requests call it by."""

    engine: Engine
    codec: Codec
    model_name: str


def build(settings: Settings) -> Served:
    """Load and return the engine. Slow for a real model. Raises the engine's own `ModelLoadError`."""
    engine, codec = _simulated(settings) if settings.engine.kind == "simulated" else _padded(settings)
    return Served(engine, codec, settings.model.name)


def _simulated(settings: Settings) -> tuple[Engine, Codec]:
    simulated = settings.engine.simulated
    config = SimulatedConfig(**simulated.model_dump(), max_batch_tokens=settings.engine.max_batch_tokens)
    return SimulatedEngine(config), SimulatedCodec()


def _padded(settings: Settings) -> tuple[Engine, Codec]:
    loading = import_module("workers.engine.loading")
    padded = import_module("workers.engine.padded")
    model = settings.model
    loaded = loading.load(
        loading.ModelSpec(
            path_or_id=model.path,
            gguf_file=model.gguf_file,
            dtype=model.dtype,
            device=model.device,
            trust_remote_code=model.trust_remote_code,
        ),
        cache_dir() / "models",
    )
    config = padded.PaddedConfig(
        max_batch_tokens=settings.engine.max_batch_tokens,
        max_batch_size=settings.engine.max_batch_size,
        max_batch_wait_s=settings.engine.max_batch_wait_ms / 1000,
    )
    return padded.PaddedEngine(loaded, config), TokenizerCodec(loaded.tokenizer)
