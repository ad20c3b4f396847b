"""A tiny model in a folder, as transformers saves it."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def save_model(
    folder: Path, *, chat_template: str | None = TEMPLATE, model_max_length: int | None = None, config: Any = None
) -> None:
    """A tiny random model, a Llama if no `config` is given, with a tokenizer of one token for each byte, and three
    ways to end a turn.
    """
    config = config or LlamaConfig(
        vocab_size=260, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=[258, 257])
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="<|end|>")  # noqa: S106 (no password)
    if model_max_length is not None:
        tokenizer.model_max_length = model_max_length
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)


def load_on_cpu(folder: Path) -> LoadedModel:
    return load(ModelSpec(str(folder), device="cpu"))
