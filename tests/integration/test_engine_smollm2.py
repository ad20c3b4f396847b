"""The default model for real: loaded from GGUF, through the cache of converted copies, asked a question."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from workers.engine.api import Completion, EngineRequest, FinishReason, SamplingParams
from workers.engine.converted import ConvertedCopies
from workers.engine.loading import LoadedModel, ModelSpec, load
from workers.engine.model_source import DEFAULT_MODEL, locate
from workers.engine.padded import PaddedConfig, PaddedEngine

SPEC = ModelSpec(DEFAULT_MODEL, dtype="bfloat16", device="cpu")


@dataclass(frozen=True)
class Loads:
    """The model, once converted from GGUF and once loaded from the converted copy; times in seconds."""

    converted: LoadedModel
    cached: LoadedModel
    converting_s: float
    loading_s: float


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Loads:
    cache_dir: Path = tmp_path_factory.mktemp("models")
    gguf = locate(DEFAULT_MODEL, None).local_gguf
    assert gguf is not None
    # A copy damaged by a crash of the machine: it must be replaced, not believed.
    damaged = ConvertedCopies(cache_dir).entry(gguf, "bfloat16")
    damaged.mkdir()
    (damaged / "model.safetensors").write_bytes(b"\0" * 100)
    started = time.perf_counter()
    converted = load(SPEC, cache_dir)
    between = time.perf_counter()
    cached = load(SPEC, cache_dir)
    return Loads(converted, cached, between - started, time.perf_counter() - between)


def ask(loaded: LoadedModel, *questions: str) -> list[tuple[str, FinishReason]]:
    engine = PaddedEngine(loaded, PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0))
    engine.warm_up()
    for index, question in enumerate(questions):
        chat = [{"role": "user", "content": question}]
        prompt = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        engine.add(EngineRequest(index, prompt, SamplingParams(max_tokens=40, temperature=0.0)))
    completions = sorted((o for o in engine.step() if isinstance(o, Completion)), key=lambda o: o.request_id)
    return [(loaded.tokenizer.decode(o.token_ids, skip_special_tokens=True), o.finish_reason) for o in completions]


def test_it_answers_a_question(loads: Loads) -> None:
    """Asked for a sum, the model says it, and ends its turn by itself; a neighbour in the batch gets its own answer."""
    (total, reason), (capital, _) = ask(loads.cached, "What is 2+2?", "What is the capital of France?")
    assert "4" in total
    assert reason is FinishReason.STOP
    assert "Paris" in capital


def test_gguf_weights_are_unpacked(loads: Loads) -> None:
    """Every parameter is a plain tensor in the asked data type, and the model says what it is."""
    parameters = dict(loads.converted.model.named_parameters())
    assert {parameter.dtype for parameter in parameters.values()} == {torch.bfloat16}
    assert sum(parameter.numel() for parameter in parameters.values()) == 134_515_008
    assert loads.converted.context_length == 8192
    assert loads.converted.tokenizer.convert_tokens_to_ids("<|im_end|>") in loads.converted.eos_token_ids


def test_a_converted_copy_is_the_same_model_sooner(loads: Loads) -> None:
    """Weights, tokenizer and facts of the copy equal the original's; loading takes less than half the time."""
    original, copy = loads.converted, loads.cached
    weights = original.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in copy.model.state_dict().items())
    for fact in ("context_length", "eos_token_ids", "pad_token_id", "dtype"):
        assert getattr(copy, fact) == getattr(original, fact)
    assert copy.tokenizer.chat_template == original.tokenizer.chat_template
    text = "<|im_start|>user\nZwölf Boxkämpfer, 12 € & 漢字<|im_end|>"
    assert copy.tokenizer(text).input_ids == original.tokenizer(text).input_ids
    assert loads.loading_s < loads.converting_s / 2
