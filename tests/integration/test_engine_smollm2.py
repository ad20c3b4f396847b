"""The default model for real: loaded from GGUF, through the cache of converted copies, asked a question."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from pelton.workers.engine.api import Completion, EngineRequest, FinishReason, Outcome, SamplingParams, StepEngine
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.gguf_cache import GgufCache
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load
from pelton.workers.engine.model.source import DEFAULT_MODEL, locate
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine

SPEC = ModelSpec(DEFAULT_MODEL, dtype="bfloat16", device="cpu")


@dataclass(frozen=True)
class Loads:
    """The model, converted from GGUF, loaded from the converted copy, and in int8; times in seconds."""

    converted: LoadedModel
    cached: LoadedModel
    int8: LoadedModel
    converting_s: float
    loading_s: float


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Loads:
    cache_dir: Path = tmp_path_factory.mktemp("models")
    gguf = locate(DEFAULT_MODEL, None).local_gguf
    assert gguf is not None
    # A copy damaged by a crash of the machine: it must be replaced, not believed.
    damaged = GgufCache(cache_dir).entry(gguf, "bfloat16")
    damaged.mkdir()
    (damaged / "model.safetensors").write_bytes(b"\0" * 100)
    started = time.perf_counter()
    converted = load(SPEC, cache_dir)
    between = time.perf_counter()
    cached = load(SPEC, cache_dir)
    loading_s = time.perf_counter() - between
    return Loads(converted, cached, load(replace(SPEC, weights="int8"), cache_dir), between - started, loading_s)


def padded(loaded: LoadedModel) -> StepEngine:
    return PaddedEngine(loaded, PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0))


def continuous(loaded: LoadedModel) -> StepEngine:
    return ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.25))


def ask(engine: StepEngine, loaded: LoadedModel, *questions: str) -> list[tuple[str, FinishReason]]:
    engine.warm_up()
    for index, question in enumerate(questions):
        chat = [{"role": "user", "content": question}]
        prompt = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        engine.add(EngineRequest(index, prompt, SamplingParams(max_tokens=40, temperature=0.0)))
    outcomes: list[Outcome] = []
    while engine.running:
        outcomes += engine.step()
    completions = sorted((o for o in outcomes if isinstance(o, Completion)), key=lambda o: o.request_id)
    return [(loaded.tokenizer.decode(o.token_ids, skip_special_tokens=True), o.finish_reason) for o in completions]


@pytest.mark.parametrize(("make", "source"), [(continuous, "cached"), (padded, "converted"), (continuous, "int8")])
def test_it_answers_a_question(loads: Loads, make: Callable[[LoadedModel], StepEngine], source: str) -> None:
    """Asked for a sum, the model says it, and ends its turn by itself; a neighbour in the batch gets its own answer."""
    # With these the likeliest token always leads by several times what bfloat16 rounds away.
    questions = "What is 2+2?", "Name the capital of France."
    loaded: LoadedModel = getattr(loads, source)  # an engine sets the model's attention: each has its own
    (total, reason), (capital, _) = ask(make(loaded), loaded, *questions)
    assert "4" in total
    assert reason is FinishReason.STOP
    assert "Paris" in capital


def test_gguf_weights_are_unpacked(loads: Loads) -> None:
    """The weights are plain tensors in the asked data type, and the model says what it is."""
    embedding = loads.converted.model.get_input_embeddings().weight
    assert (embedding.dtype, tuple(embedding.shape)) == (torch.bfloat16, (49_152, 576))
    assert loads.converted.context_length == 8192
    assert loads.converted.tokenizer.convert_tokens_to_ids("<|im_end|>") in loads.converted.eos_token_ids


def test_a_converted_copy_is_the_same_model_sooner(loads: Loads) -> None:
    """Weights, tokenizer and facts of the copy equal the original's; loading takes less than half the time."""
    original, copy = loads.converted, loads.cached
    for fact in ("weights_digest", "context_length", "eos_token_ids", "pad_token_id", "dtype"):
        assert getattr(copy, fact) == getattr(original, fact)
    assert copy.tokenizer.chat_template == original.tokenizer.chat_template
    text = "<|im_start|>user\nZwölf Boxkämpfer, 12 € & 漢字<|im_end|>"
    assert copy.tokenizer(text).input_ids == original.tokenizer(text).input_ids
    assert loads.loading_s < loads.converting_s / 2
