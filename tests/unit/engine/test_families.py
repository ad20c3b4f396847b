"""The continuous engine against `generate`, family by family: whatever happens around a request, its answer is its own.

Models are tiny and random, with weights large enough that attention decides the answer: a mutant with broken attention
must fail the same comparison, or the comparison proves nothing.
"""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4Config,
    GlmConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from workers.engine import page_attention, torch_attention
from workers.engine.api import Completion, EngineRequest, FailureKind, SamplingParams
from workers.engine.continuous import ContinuousEngine
from workers.engine.families import FAMILIES, kv_shape, why_not
from workers.engine.kv_memory import ContinuousConfig
from workers.engine.loading import wrap
from workers.engine.model_source import ModelLoadError
from workers.engine.page_attention import PageAttention

PAGE = 4
NEAR_TIE = 1e-4
COMMON: dict[str, Any] = {
    "vocab_size": 199, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": None, "tie_word_embeddings": False, "max_position_embeddings": 256,
}  # fmt: skip
HEADS_OF_96 = {"hidden_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 96}
WINDOWED = {"sliding_window": 7, "query_pre_attn_scalar": 12}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
CONFIGS: dict[str, PreTrainedConfig] = {
    "glm": GlmConfig(**COMMON),
    "glm4": Glm4Config(**COMMON),
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
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval().to(dtype)


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
            assert isinstance(outcome, Completion)
            assert_is_the_answer(outcome, reference(family, prompts[outcome.request_id], new))


@pytest.mark.parametrize("family", CONFIGS)
def test_answers_equal_generate(family: str) -> None:
    """A mixed batch with shared prefixes, cut into chunks, says what `generate` says to each prompt alone."""
    engine = make_engine(family, max_batch_tokens=13, max_running=6)
    run(engine, family, [(1, 4), (23, 1), (5, 2), (40, 7), (12, 5), (30, 1)])
    assert engine.prefix_stats.hit > 0


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_answers_equal_generate_under_preemption(family: str) -> None:
    """Requests that gave their pages up and were computed again say the same."""
    engine = make_engine(family, pages=14, max_batch_tokens=16, max_running=4)
    run(engine, family, [(20, 1), (22, 2), (9, 3), (18, 6)], new=12)
    assert engine.preemptions > 0


@pytest.mark.parametrize("chunk", [PAGE * 2 - 1, PAGE * 2, PAGE * 2 + 1])
@pytest.mark.parametrize("length", [PAGE * 4 - 1, PAGE * 4, PAGE * 4 + 1])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_chunk_and_page_boundaries(family: str, length: int, chunk: int) -> None:
    """Prompts and chunks that end at a page's end, one before and one after it."""
    run(make_engine(family, max_batch_tokens=chunk, max_running=2), family, [(length, 3), (length, 6)], new=5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_a_prompt_cached_to_its_last_token(family: str) -> None:
    """Asked again, alone and beside its copy, a prompt of full pages gets the same answer from the pages it left."""
    engine = make_engine(family, max_batch_tokens=64, max_running=4)
    for copies in (1, 2):
        hit = engine.prefix_stats.hit
        run(engine, family, [(PAGE * 4, 3)] * copies, new=5)
    assert engine.prefix_stats.hit - hit == 2 * (PAGE * 4 - 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "glm4", "gemma2"])
def test_low_precision(family: str, dtype: torch.dtype) -> None:
    """In 16 bits the answers are those of `generate` in the same bits, up to what those can tell apart."""
    engine = make_engine(family, dtype=dtype, max_batch_tokens=13, max_running=6)
    prompts = [prompt_of(length, seed) for length, seed in [(1, 4), (23, 1), (40, 7), (30, 1)]]
    params = SamplingParams(8, temperature=0.0, logprobs=0, ignore_eos=True)
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, params))
    while engine.running:
        for outcome in engine.step():
            assert isinstance(outcome, Completion)
            assert_is_the_answer(outcome, reference(family, prompts[outcome.request_id], 8, dtype), near=0.15)


events = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 30), st.integers(0, 5)),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
)


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["llama", "gemma2", "qwen2-windowed", "glm4"]),
    story=st.lists(events, max_size=20),
    pages=st.integers(12, 30),
    max_batch_tokens=st.integers(5, 40),
)
def test_answers_equal_generate_whatever_happens(
    family: str, story: list[tuple[Any, ...]], pages: int, max_batch_tokens: int
) -> None:
    """Random arrivals, cancels, preemptions, chunk sizes and prefix hits change no answer, and all pages come back."""
    engine = make_engine(family, pages=pages, max_batch_tokens=max_batch_tokens, max_running=5)
    prompts: list[tuple[int, ...]] = []
    ended: set[int] = set()
    cancelled: set[int] = set()

    def step() -> None:
        for outcome in engine.step():
            ended.add(outcome.request_id)
            if isinstance(outcome, Completion):
                assert_is_the_answer(outcome, reference(family, prompts[outcome.request_id], 8))
            else:
                assert outcome.kind is FailureKind.CANCELLED
                assert outcome.request_id in cancelled

    for kind, *details in story:
        if kind == "add" and engine.running < 5:
            prompts.append(prompt_of(*details))
            params = SamplingParams(8, temperature=0.0, logprobs=0, ignore_eos=True)
            engine.add(EngineRequest(len(prompts) - 1, prompts[-1], params))
        elif kind == "step":
            for _ in range(details[0]):
                step()
        elif kind == "cancel":
            cancelled.add(details[0])
            engine.cancel(details[0])
    while engine.running:
        step()
    assert ended == set(range(len(prompts)))
    assert engine._pool.available == pages


def breaks_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: PageAttention, layer: int, queries: torch.Tensor, scoring: Any) -> torch.Tensor:  # noqa: ARG001
        return torch.zeros_like(queries)

    monkeypatch.setattr(PageAttention, "attend", blind)


def forgets_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later chunks see zeros in place of what came before them."""
    gather = torch_attention.TorchAttention._gather

    def forgetful(self: Any, layer: int, span: Any) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = gather(self, layer, span)
        return torch.zeros_like(keys), torch.zeros_like(values)

    monkeypatch.setattr(torch_attention.TorchAttention, "_gather", forgetful)


def ignores_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks let every query see one token too many."""
    monkeypatch.setattr(page_attention, "_MASKED", 0.0)


@pytest.mark.parametrize("mutation", [breaks_decoding, forgets_the_context, ignores_the_end])
@pytest.mark.parametrize("family", ["llama", "gemma2", "glm4", "qwen3", "phi3", "gemma3"])
def test_broken_attention_is_noticed(family: str, mutation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests fails on an engine whose attention is wrong: it can tell."""
    mutation(monkeypatch)
    engine = make_engine(family, max_batch_tokens=13, max_running=6)
    with pytest.raises(AssertionError):
        run(engine, family, [(23, 1), (40, 7), (12, 5)])


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_batch_invariance_is_exact(family: str) -> None:
    """With `batch_invariant` log-probabilities agree to the last bit between alone and any batch, chunking and hit."""
    prompts = [prompt_of(length, seed) for length, seed in ((3, 3), (21, 1), (17, 5), (30, 1), (9, 2))]
    params = SamplingParams(6, temperature=0.0, logprobs=2, ignore_eos=True)

    def answers(engine: ContinuousEngine, chosen: list[int]) -> dict[int, Any]:
        for index in chosen:
            engine.add(EngineRequest(index, prompts[index], params))
        found: dict[int, Any] = {}
        while engine.running:
            found |= {
                outcome.request_id: outcome.logprobs for outcome in engine.step() if isinstance(outcome, Completion)
            }
        return found

    together = answers(make_engine(family, max_batch_tokens=19, max_running=5, batch_invariant=True), list(range(5)))
    engine = make_engine(family, pages=30, max_batch_tokens=7, max_running=2, batch_invariant=True)
    alone = {index: answers(engine, [index])[index] for index in range(5)}
    assert alone == together


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GPTNeoXConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2), r"its architecture \(gpt_neox\)"),
        (LlamaConfig(**COMMON, rope_parameters=DYNAMIC), "dynamic rope"),
        (Gemma3TextConfig(**COMMON, use_bidirectional_attention=True), "looks ahead"),
    ],
)  # fmt: skip
def test_what_cannot_be_batched_soundly_is_refused_with_the_reason(config: PreTrainedConfig, words: str) -> None:
    """Other architectures, positions that depend on the longest row, attention that looks ahead: named, not tried."""
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelLoadError, match=words):
        ContinuousEngine(wrap(model), ContinuousConfig())


def test_every_family_is_compared() -> None:
    """No family is claimed that is not in these tests; a plain rope is no reason to refuse."""
    assert {config.model_type for config in CONFIGS.values()} == FAMILIES
    assert all(why_not(pristine(family)) is None for family in CONFIGS)
