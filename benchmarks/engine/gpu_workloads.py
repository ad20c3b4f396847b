"""The workloads of the engine on a GPU: two architectures with random weights, and requests in nano-vllm's shape."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen3Config

from benchmarks.engine.gpu_peaks import Card
from benchmarks.engine.workloads import Request

REQUESTS, LEAST, MOST = 256, 100, 1024
LONG_PROMPT = 32_768

CONFIGS: dict[str, PreTrainedConfig] = {
    # Qwen3-0.6B
    "A": Qwen3Config(
        vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=40_960, tie_word_embeddings=True,
        eos_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ),
    # Llama-3-8B
    "A8": LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=8192, tie_word_embeddings=False,
        eos_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    ),
    # To go through the motions on a CPU
    "dry": LlamaConfig(
        vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, tie_word_embeddings=False,
        eos_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    ),
}  # fmt: skip


def make_model(config: PreTrainedConfig, device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """With random weights, made where they are used."""
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def make_requests(count: int = REQUESTS) -> list[Request]:
    """The shape of nano-vllm's `bench.py`, drawn in its order: 100-1024 prompt and 100-1024 new tokens each.

    More than its 256 are further sets of that many, each drawn in the same way.
    """
    return [request for seed in range(-(-count // REQUESTS)) for request in _drawn(seed)][:count]


def _drawn(seed: int) -> list[Request]:
    numbers = random.Random(seed)
    prompts = [[numbers.randint(0, 10_000) for _ in range(numbers.randint(LEAST, MOST))] for _ in range(REQUESTS)]
    new_tokens = [numbers.randint(LEAST, MOST) for _ in range(REQUESTS)]
    return [Request(prompt, new) for prompt, new in zip(prompts, new_tokens, strict=True)]


def long_request(length: int, new_tokens: int) -> Request:
    numbers = random.Random(length)
    return Request([numbers.randint(0, 499) for _ in range(length)], new_tokens)


def shrunk(requests: list[Request]) -> list[Request]:
    """A twentieth of their lengths, and tokens of a vocabulary of 500."""
    return [
        Request([token % 500 for token in each.prompt[: len(each.prompt) // 20]], each.new_tokens // 20)
        for each in requests
    ]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least seconds that a card takes for requests that all run at once: for prompts, weights and keys."""

    prefill_s: float
    weights_s: float
    keys_s: float

    @property
    def seconds(self) -> float:
        return self.prefill_s + self.weights_s + self.keys_s

    @classmethod
    def of(cls, config: Any, requests: list[Request], card: Card, itemsize: int = 2) -> "Bound":
        """Prompts at the matrix rate. Each decode step reads all weights, or multiplies them if that takes longer, and
        all keys and values so far, at the copy rate.
        """
        layers, heads, dim = config.num_hidden_layers, config.num_attention_heads, config.head_dim
        attention = config.hidden_size * dim * 2 * (heads + config.num_key_value_heads)
        body = layers * (attention + 3 * config.hidden_size * config.intermediate_size)
        head = config.hidden_size * config.vocab_size
        token_bytes = 2 * layers * config.num_key_value_heads * dim * itemsize
        prompt_flops = sum(
            2 * body * len(each.prompt) + 2 * layers * heads * dim * len(each.prompt) ** 2 + 2 * head
            for each in requests
        )
        weights_s = keys_s = 0.0
        for step in range(1, max(each.new_tokens for each in requests)):
            contexts = [len(each.prompt) + step for each in requests if each.new_tokens > step]
            keys_s += sum(contexts) * token_bytes / card.copy
            weights = body + head
            weights_s += max(weights * itemsize / card.copy, 2 * weights * len(contexts) / card.matrix)
        return cls(prompt_flops / card.matrix, weights_s, keys_s)
