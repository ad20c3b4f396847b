"""What is read off an attention layer by the name of its class is what transformers does with it."""

import torch
from transformers import LlamaConfig, MistralConfig
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.mistral.modeling_mistral import MistralAttention

from pelton.workers.engine.layers.attention_kinds import window_of
from tests.unit.workers.engine._support.reference import COMMON


def test_only_layers_that_use_a_window_have_one() -> None:
    """Llama's ignores what its configuration says of windows, as fine-tunes converted from Mistral's do by chance."""
    with torch.device("meta"):
        llama = LlamaAttention(LlamaConfig(**COMMON, sliding_window=7), 0)
        mistral = MistralAttention(MistralConfig(**COMMON, sliding_window=7), 0)
    assert window_of(llama) is None
    assert window_of(mistral) == 7
