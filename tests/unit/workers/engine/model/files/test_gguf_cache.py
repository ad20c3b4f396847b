"""A GGUF model is converted once; the copy is the same model. `make long` does it with the default model."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from pelton.workers.engine.model import checkpoint
from pelton.workers.engine.model.files.gguf_cache import GgufCache
from pelton.workers.engine.model.loading import load
from pelton.workers.engine.model.spec import ModelSpec

WIDTH, INNER, HEADS, KV_HEADS, CONTEXT = 32, 64, 4, 2, 128
NORMAL, CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """A Llama of one layer with random weights.

    Its tokens are the bytes, an end, a merged one, and one that transformers adds where it is missing.
    """
    tokens = [*bytes_to_unicode().values(), "<|end|>", "he", "<|endoftext|>"]
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([NORMAL] * 256 + [CONTROL, NORMAL, CONTROL])
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(256)
    writer.add_chat_template(TEMPLATE)
    shared = WIDTH * KV_HEADS // HEADS
    random = np.random.default_rng(0)
    for name, shape in {
        "token_embd": (len(tokens), WIDTH),
        "output_norm": (WIDTH,),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (shared, WIDTH),
        "blk.0.attn_v": (shared, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_norm": (WIDTH,),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ModelSpec(str(tmp_path), gguf_file="tiny.gguf", dtype="bfloat16", device="cpu")


def test_a_converted_copy_is_the_same_model(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged copy is replaced and not believed; the new one has the weights, tokenizer and facts of the original."""
    cache = tmp_path / "models"
    entry = GgufCache(cache).entry(tmp_path / "tiny.gguf", "bfloat16")
    entry.mkdir(parents=True)
    (entry / "model.safetensors").write_bytes(b"\0" * 100)
    original = load(spec, cache)
    assert sorted(cache.iterdir()) == [entry]
    monkeypatch.setattr(checkpoint, "GgufConfig", None)  # which only a conversion uses
    copy = load(spec, cache)
    for fact in ("weights_digest", "context_length", "eos_token_ids", "pad_token_id", "dtype"):
        assert getattr(copy, fact) == getattr(original, fact)
    assert original.dtype == torch.bfloat16
    assert copy.tokenizer.chat_template == original.tokenizer.chat_template == TEMPLATE
    text = "The zwölf Boxkämpfer, 12 € & 漢字<|end|>"
    assert copy.tokenizer(text).input_ids == original.tokenizer(text).input_ids
