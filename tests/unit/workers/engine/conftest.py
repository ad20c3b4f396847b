"""A tiny random model for the engines that run one, and a hand on its logits."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pelton.workers.engine.model.loading import LoadedModel
from tests.unit.workers.engine._support.driving import EOS, Hook


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, so that every other character of a text spans several."""
    bytes_only = Tokenizer(
        models.BPE(vocab={f"<0x{byte:02X}>": byte for byte in range(256)}, merges=[], byte_fallback=True)
    )
    bytes_only.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="<|end|>")  # noqa: S106 (no password)


@pytest.fixture
def loaded(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """Llama with a vocabulary of the bytes and two ends of sequence; its answers change when its attention does."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    return LoadedModel(model, tokenizer, 128, (EOS, EOS + 1), EOS, torch.float32, torch.device("cpu"), b"")


@pytest.fixture
def on_logits(loaded: LoadedModel) -> Iterator[Callable[[Hook], None]]:
    """Lets a test look at, or replace, the logits of every forward pass, [rows, vocab]."""
    handles = []

    def register(hook: Hook) -> None:
        def forward_hook(_module: Any, _inputs: Any, output: Any) -> None:
            changed = hook(output.logits.flatten(0, 1))
            if changed is not None:
                output.logits = changed.view_as(output.logits)

        handles.append(loaded.model.register_forward_hook(forward_hook))

    yield register
    for handle in handles:
        handle.remove()
