"""Whether the model is where it should be, without importing what runs it."""

from pelton.pipeline.settings.loading import Settings
from pelton.workers.engine.model.files.hub import ask_hub
from pelton.workers.engine.model.files.source import locate


def look_at_model(settings: Settings) -> None:
    """Takes no longer than the hub's answer. Raises `ModelLoadError`."""
    if settings.engine.kind != "simulated":
        source = locate(settings.model.path, settings.model.gguf_file)
        if source.folder is None:
            ask_hub(source.name, source.gguf_file)
