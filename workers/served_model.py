"""Builds the engine that the settings ask for. Imports torch only where a model is run."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pelton.pipeline.paths import cache_dir
from pelton.pipeline.settings.engine import EngineSettings, ModelSettings
from pelton.pipeline.settings.loading import Settings
from pelton.workers.delivery.completion_body import ANSWER_FORMAT
from pelton.workers.engine.api import StepEngine
from pelton.workers.engine.choices import ChoiceEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.chat_template import wants_parts
from pelton.workers.engine.parallel.processes import spawn
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.model_report import load_report
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from pelton.workers.prepare.tokenizer import TokenizerCodec
from pelton.workers.remote.endpoint import Endpoint

if TYPE_CHECKING:
    from pelton.workers.engine.model.loading import LoadedModel
    from pelton.workers.engine.parallel.followers import Followers

log = logging.getLogger(__name__)

# A padded batch counts its padding and the tokens still to come, so it needs far more than a step does.
_PADDED_BATCH_TOKENS = 8192
_SIMULATED_ANSWERS = ("seed", "min_output_tokens", "mean_output_tokens", "max_output_tokens")


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An engine, the codec that speaks its tokens, and the name that requests call it by.

    `fingerprint` is the same wherever the same request gets the same answer: it stands for engine and model in the
    cache's keys.
    """

    engine: StepEngine
    codec: Codec
    model_name: str
    fingerprint: bytes
    on_cpu: bool = False
    """Whether steps are computed by the machine's cores."""
    endpoints: tuple[Endpoint, ...] = ()
    """Those that the engine passes requests on to."""
    gpu: str | None = None
    """The UUID of the GPU that computes them, where one does."""
    close: Callable[[], None] = _nothing
    """To be called when the engine is used no more."""


def build(settings: Settings, on_engine_lost: Callable[[Exception], None] = lambda _: None) -> ServedModel:
    """Load and return the engine. Slow for a real model. Raises the engine's own `ModelLoadError`.

    `on_engine_lost` is called, in a thread of its own, when another process with a part of the model has ended.
    """
    if settings.engine.kind == "simulated":
        config = _simulated(settings.engine)
        facts = {"engine": "simulated", **{name: getattr(config, name) for name in _SIMULATED_ANSWERS}}
        return ServedModel(
            ChoiceEngine(SimulatedEngine(config)), SimulatedCodec(), settings.model.name, _fingerprint(facts)
        )
    if settings.engine.kind == "openai":
        return _remote(settings)
    loaded, followers = _load(settings.model, settings.engine, on_engine_lost)
    engine = _engine(loaded, settings.engine, followers)
    facts = _facts_of(loaded, engine, settings.engine)
    parts = wants_parts(loaded.tokenizer)
    _report(settings, loaded, engine, parts=parts)
    return ServedModel(
        ChoiceEngine(engine),
        TokenizerCodec(loaded.tokenizer, _grammars(loaded), content_parts=parts),
        settings.model.name,
        _fingerprint(facts),
        on_cpu=loaded.device.type == "cpu",
        gpu=_gpu(loaded),
        close=_nothing if followers is None else followers.close,
    )


def _gpu(loaded: "LoadedModel") -> str | None:
    """As NVIDIA's tools name it."""
    if loaded.device.type != "cuda":
        return None
    import torch  # noqa: PLC0415 (loaded by now)

    return f"GPU-{torch.cuda.get_device_properties(loaded.device).uuid}"


def models_dir() -> Path:
    """Where converted models are kept. Raises `SettingsError` where there is no cache folder."""
    return cache_dir() / "models"


def kernels_dir() -> Path:
    """Where compiled kernels are kept. Raises `SettingsError` where there is no cache folder."""
    return cache_dir() / "kernels"


def _remote(settings: Settings) -> ServedModel:
    from pelton.workers.remote.build import remote_engine  # noqa: PLC0415 (imports aiohttp, an extra)
    from pelton.workers.remote.codec import RemoteCodec  # noqa: PLC0415 (likewise)
    from pelton.workers.remote.tokens import TokenEstimate  # noqa: PLC0415 (likewise)

    remote, estimate = settings.engine.remote, TokenEstimate()
    name = remote.model or settings.model.name
    log.info("requests go to %s as model %s", ", ".join(remote.endpoints), name)
    engine = remote_engine(remote, estimate)
    facts = {"engine": "openai", "model": name}
    return ServedModel(
        engine,
        RemoteCodec(name, estimate),
        settings.model.name,
        _fingerprint(facts),
        endpoints=engine.endpoints,
        close=engine.close,
    )


def _report(settings: Settings, loaded: "LoadedModel", engine: StepEngine, *, parts: bool) -> None:
    from pelton.workers.engine.model.supported import unsupported_reason  # noqa: PLC0415 (imports torch)

    reason = unsupported_reason(loaded.model)
    for line in load_report(settings, loaded, engine, padded_because=reason, parts=parts):
        log.info("%s", line)


def _grammars(loaded: Any) -> GrammarCompiler:
    vocabulary = loaded.model.config.get_text_config().vocab_size
    return GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, vocabulary, loaded.eos_token_ids))


def _simulated(settings: EngineSettings) -> SimulatedConfig:
    limits: dict[str, Any] = (
        {} if settings.max_batch_tokens is None else {"max_batch_tokens": settings.max_batch_tokens}
    )
    return SimulatedConfig(**settings.simulated.model_dump(), **limits)


def _facts_of(loaded: "LoadedModel", engine: StepEngine, settings: EngineSettings) -> dict[str, Any]:
    """What changes a model's answers; what may only tip a near-tie of two tokens is left out."""
    tokenizer = loaded.tokenizer
    return {
        "engine": type(engine).__name__,
        "batch_invariant": settings.batch_invariant,
        "weights": loaded.weights_digest.hex(),
        "dtype": str(loaded.dtype),
        "positions": loaded.positions_for,
        **({"quantised": loaded.weights} if loaded.weights else {}),
        **({"kv_dtype": settings.kv_dtype} if settings.kv_dtype != "auto" else {}),
        "eos": loaded.eos_token_ids,
        "template": tokenizer.chat_template,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "vocabulary": sha256(orjson.dumps(sorted(tokenizer.get_vocab().items()))).hexdigest(),
    }


def _fingerprint(facts: dict[str, Any]) -> bytes:
    content = {"format": ANSWER_FORMAT, **facts}
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def _load(
    model: ModelSettings, engine: EngineSettings, on_lost: Callable[[Exception], None]
) -> tuple["LoadedModel", "Followers | None"]:
    """A model, or this process's part of one and the processes that have the others."""
    # Before torch is imported: the others import it at the same time.
    processes = spawn(engine.tensor_parallel)
    from pelton.workers.engine.model.loading import load  # noqa: PLC0415 (imports torch)
    from pelton.workers.engine.model.spec import ModelSpec  # noqa: PLC0415 (imports torch)
    from pelton.workers.engine.native.compiling import keep_library_in  # noqa: PLC0415 (likewise)

    keep_library_in(kernels_dir())
    spec = ModelSpec(
        path_or_id=model.path,
        gguf_file=model.gguf_file,
        dtype=model.dtype,
        device=model.device,
        trust_remote_code=model.trust_remote_code,
        context_length=model.context_length,
        weights=engine.weights,
    )
    if not processes:
        return load(spec, models_dir()), None
    from pelton.workers.engine.parallel.loading import load_in_parts  # noqa: PLC0415 (likewise)

    return load_in_parts(spec, processes, models_dir(), on_lost)


def _engine(loaded: "LoadedModel", settings: EngineSettings, followers: "Followers | None" = None) -> StepEngine:
    """The engine that was asked for, or the padded one for a model that only it can run."""
    from pelton.workers.engine.model.supported import unsupported_reason  # noqa: PLC0415 (imports torch)

    if settings.kind == "padded":
        return _padded(loaded, settings)
    reason = unsupported_reason(loaded.model)
    if reason is not None and followers is None:
        log.warning("Using the padded engine, which is slower: this model cannot be batched otherwise, as %s.", reason)
        return _padded(loaded, settings)
    return _continuous(loaded, settings, followers)


def _continuous(loaded: "LoadedModel", settings: EngineSettings, followers: "Followers | None") -> StepEngine:
    from pelton.workers.engine.config import ContinuousConfig  # noqa: PLC0415 (imports torch)
    from pelton.workers.engine.continuous.engine import ContinuousEngine  # noqa: PLC0415 (imports torch)

    config = ContinuousConfig(
        max_batch_tokens=settings.max_batch_tokens,
        max_running=settings.max_running,
        kv_memory_gib=settings.kv_memory_gib,
        kv_dtype=settings.kv_dtype,
        page_size=settings.page_size,
        prefix_cache=settings.prefix_cache,
        batch_invariant=settings.batch_invariant,
        speculation=settings.speculation,
        kernel_cache=kernels_dir(),
    )
    return ContinuousEngine(loaded, config, followers=followers)


def _padded(loaded: "LoadedModel", settings: EngineSettings) -> StepEngine:
    from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine  # noqa: PLC0415 (imports torch)

    if settings.kv_dtype != "auto":
        raise ModelLoadError(
            "engine.kv_dtype: the padded engine keeps keys and values in the model's data type; set it to auto"
        )
    config = PaddedConfig(
        max_batch_tokens=settings.max_batch_tokens or _PADDED_BATCH_TOKENS,
        max_batch_size=settings.max_batch_size,
        max_batch_wait_s=settings.max_batch_wait_ms / 1000,
    )
    return PaddedEngine(loaded, config)
