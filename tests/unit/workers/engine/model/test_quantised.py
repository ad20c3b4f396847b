"""Quantised checkpoints of others: those that are read give the numbers that they mean, all others are refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import Glm4MoeConfig, LlamaConfig, Qwen3Config, Qwen3MoeConfig

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers.fp8_experts import Fp8Experts
from pelton.workers.engine.layers.fp8_linear import Fp8Linear
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load, read
from pelton.workers.engine.model.quantised.formats import format_of
from tests.unit.workers.engine._support.quantised_checkpoints import (
    GROUP,
    Writer,
    awq,
    by_blocks,
    compressed,
    compressed_int4,
    declare,
    gptq,
    int8_by_output,
    rewrite,
)
from tests.unit.workers.engine._support.saved_model import save_model

SIZES: dict[str, Any] = {
    "vocab_size": 260, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128, "initializer_range": 0.2, "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
LLAMA = LlamaConfig(**SIZES)
QWEN3 = Qwen3Config(**SIZES, head_dim=16, attention_bias=True)
GLM4_MOE = Glm4MoeConfig(
    **SIZES, **EXPERTS, head_dim=16, n_routed_experts=4, n_shared_experts=1, n_group=1, topk_group=1,
    first_k_dense_replace=1,
)  # fmt: skip
QWEN3_MOE = Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=16, num_experts=4, decoder_sparse_step=1)
TOKENS = torch.tensor([[5, 200, 17, 33, 90, 4]])

FP8 = {"num_bits": 8, "type": "float"}
BY_TOKEN = {**FP8, "strategy": "token", "dynamic": True}
FIXED = {**FP8, "strategy": "tensor", "dynamic": False}
CHANNEL = compressed("float-quantized", activations=BY_TOKEN, **FP8, strategy="channel")
FINE = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}
ONE = torch.ones(1)


@dataclass(frozen=True, slots=True)
class Case:
    writer: Writer
    declared: dict[str, Any]
    named: str
    kept: bool = False


CASES = {
    "compressed fp8 channel": Case(by_blocks(1, 0), CHANNEL, "compressed-tensors fp8 (channel)", True),
    "compressed fp8 tensor": Case(
        by_blocks(0, 0, input_scale=ONE), compressed("float-quantized", activations=FIXED, **FP8, strategy="tensor"),
        "compressed-tensors fp8 (tensor)", True,
    ),
    "compressed fp8 block": Case(
        by_blocks(32, 32), compressed("float-quantized", **FP8, strategy="block", block_structure=[32, 32]),
        "compressed-tensors fp8 (block)",
    ),
    "compressed int8": Case(
        int8_by_output, compressed("int-quantized", num_bits=8, type="int", strategy="channel"),
        "compressed-tensors int8 (channel)",
    ),
    "compressed int4": Case(
        compressed_int4, compressed("pack-quantized", num_bits=4, type="int", strategy="group", group_size=GROUP),
        "compressed-tensors int4 (group)",
    ),
    "fine-grained": Case(
        by_blocks(32, 32, "weight_scale_inv"), {**FINE, "weight_block_size": [32, 32]}, "fp8 (blocks of 32x32)"
    ),
    "fp8 of one scale": Case(by_blocks(0, 0, input_scale=ONE), FINE, "fp8 (tensor)", True),
    "fbgemm": Case(
        by_blocks(1, 0), {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "fbgemm_fp8 (channel)", True
    ),
    "gptq": Case(gptq(), GPTQ, "GPTQ int4"),
    "gptq shuffled": Case(gptq(shuffled=True), {**GPTQ, "desc_act": True}, "GPTQ int4"),
    "gptq v2": Case(gptq(less_one=False), {**GPTQ, "checkpoint_format": "gptq_v2"}, "GPTQ int4"),
    "gptq of 8 bits": Case(gptq(bits=8), {**GPTQ, "bits": 8}, "GPTQ int8"),
    "awq": Case(awq, AWQ, "AWQ int4"),
}  # fmt: skip
KEPT = [name for name, case in CASES.items() if case.kept]


def saved(tmp_path: Path, case: Case, config: Any = LLAMA) -> tuple[Path, Path]:
    """Folders of a quantised model, and of the same one with the numbers that it means."""
    torch.manual_seed(7)
    save_model(tmp_path / "plain", config=config)
    rewrite(tmp_path / "plain", tmp_path / "quantised", case.writer, case.declared)
    return tmp_path / "quantised", tmp_path / "plain"


def spec(folder: Path, weights: Any = "auto", dtype: Any = "float32") -> ModelSpec:
    return ModelSpec(str(folder), device="cpu", dtype=dtype, weights=weights)


@torch.inference_mode()
def logits(loaded: LoadedModel) -> Tensor:
    result: Tensor = loaded.model(input_ids=TOKENS, use_cache=False).logits
    return result


class InFp8(nn.Module):
    """A linear layer whose rows are rounded to fp8, one scale for each: what a kept layer has to compute."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, rows: Tensor) -> Tensor:
        return self.linear(rounded(rows))


def rounded(rows: Tensor) -> Tensor:
    scales = rows.abs().amax(dim=-1, keepdim=True) / 448
    return (rows / scales).to(torch.float8_e4m3fn).float() * scales


def round_rows(model: Any) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and name != "lm_head":
                setattr(module, name, InFp8(child))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_read_format_gives_the_numbers_that_it_means(tmp_path: Path, case: Case) -> None:
    """Logits equal those of an unquantised checkpoint with these numbers; the format is named for the operator."""
    quantised, plain = saved(tmp_path, case)
    loaded = read(spec(quantised))
    torch.testing.assert_close(logits(loaded), logits(read(spec(plain))), rtol=0, atol=1e-5)
    assert (loaded.stored_as, loaded.weights) == (case.named, "")
    assert loaded.eos_token_ids == (256, 257, 258)
    assert not hasattr(loaded.model.config, "quantization_config")


@pytest.mark.parametrize("case", [CASES[name] for name in KEPT], ids=KEPT)
def test_fp8_weights_are_kept_where_products_take_them(tmp_path: Path, case: Case) -> None:
    """Bytes go from the file into the layers; only rows are rounded besides, also after layers are joined."""
    quantised, plain = saved(tmp_path, case, QWEN3)
    kept, expected = read(spec(quantised, "fp8")), read(spec(plain))
    assert sum(isinstance(module, Fp8Linear) for module in kept.model.modules()) == 2 * 7
    stored = load_file(quantised / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
    own = kept.model.model.layers[0].mlp.down_proj.weight
    assert own.view(torch.uint8).equal(stored.view(torch.uint8))
    round_rows(expected.model)
    want = logits(expected)
    torch.testing.assert_close(logits(kept), want, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(load(spec(quantised, "fp8"))), want, rtol=0, atol=1e-4)
    assert kept.weights == "fp8 (scaled_mm)"
