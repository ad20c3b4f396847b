"""The continuous engine against `generate`, family by family: whatever happens around a request, its answer is its own.

A mutant with broken attention must fail the same comparison, or the comparison proves nothing.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GptOssConfig,
    PreTrainedConfig,
    Qwen3NextConfig,
)

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.attention import page_products, paged
from pelton.workers.engine.attention.decode import PageAttention
from pelton.workers.engine.attention.native_decode import NativeAttention
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.model.supported import FAMILIES, unsupported_reason
from tests.unit.workers.engine._support.native import without_kernels
from tests.unit.workers.engine._support.reference import (
    COMMON,
    CONFIGS,
    PAGE,
    assert_is_the_answer,
    make_engine,
    pristine,
    prompt_of,
    reference,
    run,
)
from tests.unit.workers.engine._support.stories import AT_ONCE, STORIES, Story

MIXTURES = ["glm4-moe", "qwen3-moe", "mixtral", "olmoe"]


@pytest.mark.parametrize("family", CONFIGS)
def test_answers_equal_generate(family: str) -> None:
    """A mixed batch with shared prefixes, cut into chunks, says what `generate` says to each prompt alone."""
    engine = make_engine(family, max_batch_tokens=13, max_running=6)
    run(engine, family, [(1, 4), (23, 1), (5, 2), (40, 7), (12, 5), (30, 1)])
    assert engine.prefix_stats.hit > 0


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", *MIXTURES])
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


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["llama", "gemma2", "qwen2-windowed", "glm4", *MIXTURES]),
    story=STORIES,
    pages=st.integers(12, 30),
    max_batch_tokens=st.integers(5, 40),
)
def test_answers_equal_generate_whatever_happens(
    family: str, story: list[tuple[Any, ...]], pages: int, max_batch_tokens: int
) -> None:
    """Random arrivals, cancels, preemptions, chunk sizes and prefix hits change no answer, and all pages come back."""
    engine = make_engine(family, pages=pages, max_batch_tokens=max_batch_tokens, max_running=AT_ONCE)
    Story(engine, family).tell(story)
    assert engine._pool.available == pages


def breaks_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Any, layer: int, queries: torch.Tensor, *_: Any) -> torch.Tensor:  # noqa: ARG001
        return torch.zeros_like(queries)

    for attention in (PageAttention, NativeAttention):
        monkeypatch.setattr(attention, "attend", blind)


def forgets_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later chunks see zeros in place of what came before them."""
    gather = paged.TorchAttention._gather

    def forgetful(self: Any, layer: int, span: Any) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = gather(self, layer, span)
        return torch.zeros_like(keys), torch.zeros_like(values)

    monkeypatch.setattr(paged.TorchAttention, "_gather", forgetful)


def ignores_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing hides from decoding queries what is behind the newest token in its page."""
    without_kernels(monkeypatch)
    monkeypatch.setattr(page_products, "additive_mask", lambda visible, dtype: torch.zeros(visible.shape, dtype=dtype))


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
        (Gemma3TextConfig(**COMMON, use_bidirectional_attention=True), "looks ahead"),
    ],
)  # fmt: skip
def test_what_cannot_be_batched_soundly_is_refused_with_the_reason(config: PreTrainedConfig, words: str) -> None:
    """Other architectures, and attention that looks ahead: named, not tried."""
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelLoadError, match=words):
        ContinuousEngine(wrap(model), ContinuousConfig())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GptOssConfig(num_hidden_layers=2), "sinks"),
        (DeepseekV3Config(num_hidden_layers=2), "latent attention"),
        (Qwen3NextConfig(num_hidden_layers=4), "linear attention"),
    ],
)
def test_attention_of_another_kind_is_named(config: PreTrainedConfig, words: str) -> None:
    """Sinks, compressed keys and values, and linear attention go to the padded engine, and the log says which it is."""
    reason = unsupported_reason(SimpleNamespace(config=config))
    assert reason is not None
    assert words in reason


def test_every_family_is_compared() -> None:
    """No family is claimed that is not in these tests; a plain rope is no reason to refuse."""
    assert {config.model_type for config in CONFIGS.values()} == FAMILIES
    assert all(unsupported_reason(pristine(family)) is None for family in CONFIGS)
