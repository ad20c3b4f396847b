"""Multimodal checkpoints whose language model is a plain one: that is what is loaded, batched continuously."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
)

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import read
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.model.supported import unsupported_reason
from tests.unit.workers.engine._support.reference import COMMON, WINDOWED, prompt_of
from tests.unit.workers.engine._support.saved_model import save_model

TEXT = {**COMMON, "vocab_size": 260}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip


def gemma3() -> Any:
    text = {**TEXT, **WINDOWED, "num_hidden_layers": 3, "sliding_window_pattern": 2, "tie_word_embeddings": True}
    config = Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=1)
    return Gemma3ForConditionalGeneration(config)


def mistral3() -> Any:
    text = {**TEXT, "model_type": "mistral", "sliding_window": None}
    vision = {**VISION, "model_type": "pixtral", "head_dim": 8}
    return Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision))


@pytest.mark.parametrize("make", [gemma3, mistral3])
def test_the_language_model_is_served_continuously(make: Any, tmp_path: Path) -> None:
    """Every answer of a mixed batch is what the whole model generates for its prompt alone; the tower is gone."""
    save_model(tmp_path)  # for its tokenizer
    torch.manual_seed(1)
    whole = make().eval()
    whole.generation_config = GenerationConfig(eos_token_id=[258, 257])
    whole.save_pretrained(tmp_path)
    loaded = read(ModelSpec(str(tmp_path), device="cpu", dtype="float32"))
    assert unsupported_reason(loaded.model) is None
    assert not any("vision" in name for name, _ in loaded.model.named_parameters())
    assert loaded.eos_token_ids[-2:] == (257, 258)
    engine = ContinuousEngine(loaded, ContinuousConfig(max_batch_tokens=13, max_running=4, page_size=4))
    prompts = [prompt_of(length, seed) for length, seed in ((1, 4), (23, 1), (40, 7))]
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(8, temperature=0.0, ignore_eos=True)))
    found: dict[int, tuple[int, ...]] = {}
    while engine.running:
        for outcome in engine.step():
            assert isinstance(outcome, Completion), outcome
            found[outcome.request_id] = outcome.token_ids
    whole.generation_config = GenerationConfig(eos_token_id=None)
    for index, prompt in enumerate(prompts):
        expected = whole.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), max_new_tokens=8,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert found[index] == tuple(expected[0, len(prompt) :].tolist())
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template
