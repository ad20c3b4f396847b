"""Builds the engine that the settings ask for. Imports torch only where a model is run."""

import logging
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from typing import Any

import orjson

from pipeline.paths import cache_dir
from pipeline.settings import EngineSettings, ModelSettings, Settings
from workers.answers import ANSWER_FORMAT
from workers.codec import Codec, SimulatedCodec, TokenizerCodec
from workers.engine.api import StepEngine
from workers.engine.simulated import SimulatedConfig, SimulatedEngine

log = logging.getLogger(__name__)

# A padded batch counts its padding and the tokens still to come, so it needs far more than a step does.
_PADDED_BATCH_TOKENS = 8192
_SIMULATED_ANSWERS = ("seed", "min_output_tokens", "mean_output_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Served:
    """An engine, the codec that speaks its tokens, and the name that requests call it by.

    `fingerprint` is the same wherever the same request gets the same answer: it stands for engine and model in the
    cache's keys.
    """

    engine: StepEngine
    codec: Codec
    model_name: str
    fingerprint: bytes


def build(settings: Settings) -> Served:
    """Load and return the engine. Slow for a real model. Raises the engine's own `ModelLoadError`."""
    if settings.engine.kind == "simulated":
        config = _simulated(settings.engine)
        told = {"engine": "simulated", **{name: getattr(config, name) for name in _SIMULATED_ANSWERS}}
        return Served(SimulatedEngine(config), SimulatedCodec(), settings.model.name, _fingerprint(told))
    loaded = _load(settings.model)
    engine = _engine(loaded, settings.engine)
    told = _told_of(loaded, engine, settings.engine)
    return Served(engine, TokenizerCodec(loaded.tokenizer), settings.model.name, _fingerprint(told))


def _simulated(settings: EngineSettings) -> SimulatedConfig:
    limits: dict[str, Any] = (
        {} if settings.max_batch_tokens is None else {"max_batch_tokens": settings.max_batch_tokens}
    )
    return SimulatedConfig(**settings.simulated.model_dump(), **limits)


def _told_of(loaded: Any, engine: StepEngine, settings: EngineSettings) -> dict[str, Any]:
    """What changes a model's answers; what may only tip a near-tie of two tokens is left out."""
    tokenizer = loaded.tokenizer
    return {
        "engine": type(engine).__name__,
        "batch_invariant": settings.batch_invariant,
        "weights": loaded.weights_digest.hex(),
        "dtype": str(loaded.dtype),
        "eos": loaded.eos_token_ids,
        "template": tokenizer.chat_template,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "vocabulary": sha256(orjson.dumps(sorted(tokenizer.get_vocab().items()))).hexdigest(),
    }


def _fingerprint(told: dict[str, Any]) -> bytes:
    content = {"format": ANSWER_FORMAT, **told}
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


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
        kernel_cache=cache_dir() / "kernels",
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
