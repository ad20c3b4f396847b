"""Which engine a model gets: the continuous one, or the padded one with the reason in the log."""

import logging
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedConfig

from pelton.pipeline.settings.engine import EngineSettings
from pelton.workers import served_model
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.padded.engine import PaddedEngine

TINY = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip


def build(config: PreTrainedConfig, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    return served_model._engine(wrap(model.eval()), EngineSettings(**settings))


def test_a_known_family_is_batched_continuously(caplog: pytest.LogCaptureFixture) -> None:
    """The default, with the settings' limits, and nothing to say about it."""
    with caplog.at_level(logging.WARNING):
        engine = build(LlamaConfig(**TINY), max_batch_tokens=100, max_running=7, kv_memory_gib=0.001, page_size=16)
    assert isinstance(engine, ContinuousEngine)
    assert (engine.max_batch_tokens, engine.max_request_tokens % 16) == (100, 0)
    assert not caplog.records


def test_what_cannot_be_batched_soundly_goes_to_the_padded_engine(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the reason, and the engine works."""
    engine = build(GPTNeoXConfig(**TINY))
    assert isinstance(engine, PaddedEngine)
    assert "its architecture (gpt_neox)" in caplog.text
    engine.warm_up()


def test_the_padded_engine_can_be_asked_for() -> None:
    """`engine.kind` decides where both could."""
    engine = build(LlamaConfig(**TINY), kind="padded")
    assert isinstance(engine, PaddedEngine)
    assert engine.max_request_tokens == 8192


def test_quantised_pages_reach_the_continuous_engine_and_no_other() -> None:
    """Four times the tokens of float32 in the same memory, less the scales; the padded engine has no pages."""
    plain, small = (
        build(LlamaConfig(**TINY), kv_memory_gib=0.001, page_size=16, kv_dtype=kind) for kind in ("auto", "int8")
    )
    assert small.max_request_tokens / plain.max_request_tokens == pytest.approx(32 / 12, rel=0.01)
    with pytest.raises(ModelLoadError, match=r"engine\.kv_dtype: the padded engine"):
        build(LlamaConfig(**TINY), kind="padded", kv_dtype="int8")
