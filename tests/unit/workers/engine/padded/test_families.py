"""Model families through the padded engine: the tokens of a mixed batch are those of `generate`, one at a time."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Glm4Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine

NEW_TOKENS = 16
PAD = 0
COMMON = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "initializer_range": 0.2,
    "pad_token_id": PAD,
    "eos_token_id": None,
}
FAMILIES = {
    "llama": LlamaConfig(**COMMON, tie_word_embeddings=False),
    "llama-tied": LlamaConfig(**COMMON, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**COMMON, tie_word_embeddings=False),
    "glm4": Glm4Config(**COMMON, tie_word_embeddings=False),
    # A window shorter than the prompts, so that padding and sliding have to agree.
    "gemma2": Gemma2Config(**COMMON, tie_word_embeddings=False, sliding_window=8, query_pre_attn_scalar=12),
}


def make_model(config: PreTrainedConfig) -> LoadedModel:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return LoadedModel(model, None, 128, (), PAD, torch.float32, torch.device("cpu"), b"")


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(1, 300, (n,), generator=generator).tolist() for n in (1, 23, 5, 40, 12)]


def assert_same_or_near_tie(loaded: LoadedModel, prompt: list[int], got: list[int], alone: list[int]) -> None:
    """Tokens must agree; from where the two likeliest differ by less than rounding, the rest may differ."""
    if got == alone:
        return
    first = next(index for index, (a, b) in enumerate(zip(got, alone, strict=True)) if a != b)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[*prompt, *alone[:first]]])).logits[0, -1]
    best, second = logits.topk(2).values
    assert best - second < 1e-4, f"token {first} is {got[first]}, alone it is {alone[first]}"


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_tokens_equal_sequential_ones(family: str) -> None:
    """Padding, masks and positions of a mixed-length batch change no row's greedy answer."""
    loaded, prompts = make_model(FAMILIES[family]), make_prompts()
    engine = PaddedEngine(loaded, PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0))
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(NEW_TOKENS, temperature=0.0)))
    batched = {o.request_id: list(o.token_ids) for o in engine.step() if isinstance(o, Completion)}
    assert len({tuple(tokens) for tokens in batched.values()}) == len(prompts), "equal answers prove nothing"
    for index, prompt in enumerate(prompts):
        alone = loaded.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=PAD,
        )[0, len(prompt) :].tolist()  # fmt: skip
        assert_same_or_near_tie(loaded, prompt, batched[index], alone)
