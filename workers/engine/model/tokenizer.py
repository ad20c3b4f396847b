"""A model's tokenizer with its chat template, without the model."""

from typing import Any

from transformers import AutoTokenizer

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.chat_template import adopt_template, wants_parts
from pelton.workers.engine.model.hub import ask_hub
from pelton.workers.engine.model.source import ModelSource, locate


def read_tokenizer(path_or_id: str, gguf_file: str | None = None) -> Any:
    """Raises ModelLoadError where there is none, or none with a chat template."""
    source = locate(path_or_id, gguf_file)
    options: dict[str, Any] = {} if source.gguf_file is None else {"gguf_file": source.gguf_file}
    if source.folder is None:
        ask_hub(source.name, source.gguf_file)
    try:
        return tokenizer_of(source, options)
    except ModelLoadError:
        raise
    except Exception as error:  # transformers, the hub client and the file readers raise all kinds
        raise ModelLoadError(f"the tokenizer of {source.name} cannot be loaded: {error}") from error


def tokenizer_of(source: ModelSource, options: dict[str, Any]) -> Any:
    """`options` are transformers' own. Raises what transformers raises, or ModelLoadError without a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(source.path_or_id, **options)
    adopt_template(source.name, tokenizer, source.folder)
    wants_parts(tokenizer)
    return tokenizer
