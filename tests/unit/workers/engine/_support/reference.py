"""Tiny random models of every family, what `generate` says with them, and the comparison of an engine with that.

The weights are large enough that attention decides the answer.
"""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4Config,
    Glm4MoeConfig,
    GlmConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OlmoeConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.model.positions import fix_positions
from pelton.workers.engine.model.supported import kv_shape

PAGE = 4
NEAR_TIE = 1e-4
COMMON: dict[str, Any] = {
    "vocab_size": 199, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": None, "tie_word_embeddings": False, "max_position_embeddings": 256,
}  # fmt: skip
MANY_HEADS = {"num_attention_heads": 12}  # for each KV head so many that values are copied for a product
HEADS_OF_96 = {"hidden_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 96}
WINDOWED = {"sliding_window": 7, "query_pre_attn_scalar": 12}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
CONFIGS: dict[str, PreTrainedConfig] = {
    "glm": GlmConfig(**COMMON),
    "glm4": Glm4Config(**COMMON | MANY_HEADS),
    "llama": LlamaConfig(**COMMON),
    "llama-tied": LlamaConfig(**COMMON | {"tie_word_embeddings": True}),
    "llama-mha": LlamaConfig(**COMMON | {"num_key_value_heads": 4}),
    "mistral": MistralConfig(**COMMON, sliding_window=7),
    "qwen2": Qwen2Config(**COMMON),
    "qwen2-windowed": Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=7, max_window_layers=1),
    "qwen3": Qwen3Config(**COMMON),
    "phi3": Phi3Config(**COMMON | HEADS_OF_96),
    "phi3-windowed": Phi3Config(**COMMON, sliding_window=7),
    "gemma2": Gemma2Config(**COMMON, **WINDOWED, attn_logit_softcapping=5.0, final_logit_softcapping=4.0),
    "glm4-moe": Glm4MoeConfig(
        **COMMON, **EXPERTS, n_routed_experts=8, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=1
    ),
    "qwen3-moe": Qwen3MoeConfig(**COMMON, **EXPERTS, num_experts=8, decoder_sparse_step=1, norm_topk_prob=True),
    "mixtral": MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2),
    "olmoe": OlmoeConfig(**COMMON, num_experts=8, num_experts_per_tok=2),
    "phi3-longrope": Phi3Config(
        **COMMON, original_max_position_embeddings=16,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
        },
    ),
    "llama-dynamic": LlamaConfig(
        **COMMON, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    ),
    "gemma3": Gemma3TextConfig(**COMMON | {"num_hidden_layers": 3}, **WINDOWED, sliding_window_pattern=2),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What `generate` says: tokens, their log-probabilities, and by how much the best logit beat the second."""

    tokens: list[int]
    logprobs: list[float]
    margins: list[float]


@cache
def pristine(family: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(1)
    # Not every release of transformers caps scores in its other kinds of attention.
    config = CONFIGS[family]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval().to(dtype)
    fix_positions(model, config.max_position_embeddings)
    return model


@cache
def reference(family: str, prompt: tuple[int, ...], new: int, dtype: torch.dtype = torch.float32) -> Answer:
    output = pristine(family, dtype).generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), max_new_tokens=new,
        do_sample=False, pad_token_id=0, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    tokens = output.sequences[0, len(prompt) :].tolist()
    logits = torch.cat(output.logits).float()
    top = logits.topk(2).values
    logprobs = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
    return Answer(tokens, logprobs.tolist(), (top[:, 0] - top[:, 1]).tolist())


def make_engine(family: str, pages: int = 64, dtype: torch.dtype = torch.float32, **limits: Any) -> ContinuousEngine:
    loaded = wrap(copy.deepcopy(pristine(family, dtype)))
    page_gib = kv_shape(loaded.model.config).page_bytes(PAGE, torch.float32) / 2**30
    return ContinuousEngine(loaded, ContinuousConfig(page_size=PAGE, kv_memory_gib=(pages + 0.5) * page_gib, **limits))


def assert_is_the_answer(completion: Completion, expected: Answer, near: float = NEAR_TIE) -> None:
    """Equal tokens, and log-probabilities within `near`, up to where `generate` itself saw a tie as near as that."""
    assert completion.logprobs is not None
    got = zip(completion.token_ids, completion.logprobs, strict=True)
    want = zip(expected.tokens, expected.logprobs, expected.margins, strict=True)
    for (token, logprob), (expected_token, expected_logprob, margin) in zip(got, want, strict=True):
        if margin < near:
            return
        assert token == expected_token
        assert logprob.logprob == pytest.approx(expected_logprob, abs=near)


def prompt_of(length: int, seed: int) -> tuple[int, ...]:
    """The same beginning for many seeds, so that prefixes are shared."""
    common = torch.randint(2, 199, (64,), generator=torch.Generator().manual_seed(seed % 2)).tolist()
    own = torch.randint(2, 199, (64,), generator=torch.Generator().manual_seed(seed)).tolist()
    shared = min(length, 11) if seed % 3 else 0
    return tuple(common[:shared] + own[: length - shared])


def run(engine: ContinuousEngine, family: str, requests: list[tuple[int, int]], new: int = 8) -> None:
    """All at once; compare each with `generate`."""
    prompts = [prompt_of(length, seed) for length, seed in requests]
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(new, temperature=0.0, logprobs=0, ignore_eos=True)))
    while engine.running:
        for outcome in engine.step():
            if not isinstance(outcome, Completion):  # a mutant is to be caught by its answers, not by its crash
                pytest.fail(outcome.message)
            assert_is_the_answer(outcome, reference(family, prompts[outcome.request_id], new))
