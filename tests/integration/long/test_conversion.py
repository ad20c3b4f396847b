"""The default model is converted from GGUF, as at a machine's very first start."""

import time
from pathlib import Path

import torch

from pelton.workers.engine.model.files.gguf_cache import GgufCache
from pelton.workers.engine.model.files.source import DEFAULT_MODEL, locate
from pelton.workers.engine.model.loading import load
from pelton.workers.engine.model.spec import ModelSpec
from tests.integration.smollm2 import ask, padded

SPEC = ModelSpec(DEFAULT_MODEL, dtype="bfloat16", device="cpu")


def test_a_converted_copy_is_the_same_model_sooner(tmp_path: Path) -> None:
    """Weights, tokenizer and facts of the copy equal the original's; loading takes less than half the time.

    A copy that a crash of the machine damaged is replaced, and not believed.
    """
    gguf = locate(DEFAULT_MODEL, None).local_gguf
    assert gguf is not None
    damaged = GgufCache(tmp_path).entry(gguf, "bfloat16")
    damaged.mkdir()
    (damaged / "model.safetensors").write_bytes(b"\0" * 100)
    started = time.perf_counter()
    original = load(SPEC, tmp_path)
    between = time.perf_counter()
    copy = load(SPEC, tmp_path)
    ended = time.perf_counter()
    for fact in ("weights_digest", "context_length", "eos_token_ids", "pad_token_id", "dtype"):
        assert getattr(copy, fact) == getattr(original, fact)
    assert copy.tokenizer.chat_template == original.tokenizer.chat_template
    text = "<|im_start|>user\nZwölf Boxkämpfer, 12 € & 漢字<|im_end|>"
    assert copy.tokenizer(text).input_ids == original.tokenizer(text).input_ids
    assert ended - between < (between - started) / 2
    embedding = original.model.get_input_embeddings().weight
    assert (embedding.dtype, tuple(embedding.shape)) == (torch.bfloat16, (49_152, 576))
    assert "4" in ask(padded(original), original, "What is 2+2?")[0][0]
