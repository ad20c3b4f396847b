"""The default model for real: from the copy that all processes of this user share, asked a question."""

from collections.abc import Callable

import pytest
import torch

from pelton.workers.engine.api import FinishReason, StepEngine
from pelton.workers.engine.model.files.source import DEFAULT_MODEL
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.served_model import models_dir
from tests.integration.smollm2 import ask, continuous, padded


@pytest.mark.parametrize(("make", "weights"), [(continuous, "auto"), (padded, "auto"), (continuous, "int8")])
def test_it_answers_a_question(make: Callable[[LoadedModel], StepEngine], weights: str) -> None:
    """Asked for a sum, the model says it, and ends its turn by itself; a neighbour in the batch gets its own answer."""
    # With these the likeliest token always leads by several times what bfloat16 rounds away.
    questions = "What is 2+2?", "Name the capital of France."
    # As a worker loads it, so the tests that start one find it converted, or this one what they have converted.
    loaded = load(ModelSpec(DEFAULT_MODEL, device="cpu", weights=weights), models_dir())  # type: ignore[arg-type]
    (total, reason), (capital, _) = ask(make(loaded), loaded, *questions)
    assert "4" in total
    assert reason is FinishReason.STOP
    assert "Paris" in capital
    embedding = loaded.model.get_input_embeddings().weight
    assert (embedding.dtype, tuple(embedding.shape)) == (loaded.dtype, (49_152, 576))
    assert loaded.dtype in (torch.float32, torch.bfloat16)
    assert loaded.context_length == 8192
    assert loaded.tokenizer.convert_tokens_to_ids("<|im_end|>") in loaded.eos_token_ids
