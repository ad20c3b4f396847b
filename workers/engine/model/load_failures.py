"""Why a model could not be loaded, and what to set for it, from whatever transformers or a file's reader raised."""

from pelton.workers.engine.model.files.source import ModelSource

_MAX_CAUSES = 4


def explain(source: ModelSource, error: Exception) -> str:
    """In one sentence that names the setting."""
    reason = "; caused by ".join(causes(error))
    if "trust_remote_code" in str(error):
        return (
            f"model.trust_remote_code: {source.name} brings code of its own; set it to true if you trust it ({reason})"
        )
    if source.local_gguf is not None:
        return f"model.gguf_file: {source.local_gguf} cannot be loaded ({reason}); is it complete and a language model?"
    if source.folder is not None:
        return (
            f"model.path: {source.folder} cannot be loaded ({reason}); it needs config.json, weights and a tokenizer "
            "as transformers saves them"
        )
    return (
        f"model.path: there is no local folder {source.name}, and the model hub did not give it ({reason}); check the "
        "name and the network, or set model.path to a downloaded folder"
    )


def causes(error: BaseException | None) -> list[str]:
    """The error and what led to it, the first line of each, at most `_MAX_CAUSES`."""
    found: list[str] = []
    while error is not None and len(found) < _MAX_CAUSES:
        lines = str(error).strip().splitlines()
        found.append(f"{type(error).__name__}: {lines[0] if lines else 'no details'}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return list(dict.fromkeys(found))
