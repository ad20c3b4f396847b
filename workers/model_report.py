"""What was decided when a model was loaded, in five lines for the operator."""

from typing import TYPE_CHECKING

from pelton.pipeline.settings.engine import EngineSettings
from pelton.pipeline.settings.loading import Settings
from pelton.workers.engine.api import StepEngine

if TYPE_CHECKING:
    from pelton.workers.engine.model.loading import LoadedModel


def load_report(
    settings: Settings,
    loaded: "LoadedModel",
    engine: StepEngine,
    *,
    padded_because: str | None,
    parts: bool,
) -> list[str]:
    """One line each on model, weights, engine, budgets and chat format.

    `padded_because` says why the model cannot be batched continuously; `parts`, whether its template takes content
    parts.
    """
    model = settings.model
    file = f", file {model.gguf_file}" if model.gguf_file else ""
    # Of the engines only the continuous one bounds a step by itself; a padded batch is bounded like a request.
    step_tokens = getattr(engine, "max_batch_tokens", engine.max_request_tokens)
    return [
        f"model: {model.name}, from {model.path}{file}",
        f"weights: {_weights(loaded)} (model.dtype {model.dtype}) on {loaded.device} (model.device {model.device})",
        f"engine: {_engine(settings.engine, padded_because)}",
        (
            f"budgets: context of {loaded.context_length} tokens; at most {step_tokens} tokens in a step "
            f"and {engine.max_request_tokens} in a request"
        ),
        (
            f"chat: template of {len(loaded.tokenizer.chat_template)} characters that takes "
            f"{'content parts' if parts else 'plain text'}; answers stop at {_stops(loaded)}"
        ),
    ]


def _engine(settings: EngineSettings, padded_because: str | None) -> str:
    if settings.kind == "padded":
        return "padded, as engine.kind says"
    if padded_because is not None:
        return f"padded, which is slower, as {padded_because}"
    parts = f" in {settings.tensor_parallel} parts" if settings.tensor_parallel > 1 else ""
    stored = "" if settings.kv_dtype == "auto" else f", keys and values in {settings.kv_dtype}"
    return f"continuous{parts}, as engine.kind says{', batch-invariant' if settings.batch_invariant else ''}{stored}"


def _weights(loaded: "LoadedModel") -> str:
    plain = str(loaded.dtype).removeprefix("torch.")
    layers = f", linear layers {loaded.weights}" if loaded.weights else ""
    return f"{plain}{layers}{f', stored as {loaded.stored_as}' if loaded.stored_as else ''}"


def _stops(loaded: "LoadedModel") -> str:
    names = loaded.tokenizer.convert_ids_to_tokens(list(loaded.eos_token_ids))
    stops = [f"{name} ({number})" for name, number in zip(names, loaded.eos_token_ids, strict=True)]
    return ", ".join(stops) or "their token limit only: the model names no stop token"
