"""A model's tokenizer with its chat template, without the model."""

from typing import Any

from transformers import AutoTokenizer

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.chat_template import adopt_template, wants_parts
from pelton.workers.engine.model.files.hub import ask_hub
from pelton.workers.engine.model.files.source import ModelSource, locate


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


def check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """A token without a row in the embedding would end the step it is in, and everybody's answer with it."""
    rows = model.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise ModelLoadError(
            f"model.path: the tokenizer of {name} has token ids up to {highest}, its model only {rows}; put the "
            "tokenizer that belongs to the weights into the folder"
        )


def eos_token_ids_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's and the generation config's; some models (GLM) end a turn with any of several."""
    configured = model.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(getattr(tokenizer, "eos_token_id", None))
    return tuple(sorted(ids - {None}))


def pad_token_id_of(tokenizer: Any, eos_token_ids: tuple[int, ...]) -> int:
    # Padding is masked out everywhere, so any valid id will do for tokenizers without one.
    stated = getattr(tokenizer, "pad_token_id", None)
    return next((token for token in (stated, *eos_token_ids) if token is not None), 0)
