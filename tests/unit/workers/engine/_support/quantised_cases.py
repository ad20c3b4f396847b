"""Tiny models in each format that is read, with what config.json declares of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Glm4MoeConfig, LlamaConfig, Qwen3Config, Qwen3MoeConfig

from pelton.workers.engine.model.spec import ModelSpec
from tests.unit.workers.engine._support.quantised_checkpoints import (
    GROUP,
    Writer,
    awq,
    by_blocks,
    compressed,
    compressed_int4,
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

FP8: dict[str, Any] = {"num_bits": 8, "type": "float"}
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


def saved(tmp_path: Path, case: Case, config: Any = LLAMA) -> tuple[Path, Path]:
    """Folders of a quantised model, and of the same one with the numbers that it means."""
    torch.manual_seed(7)
    save_model(tmp_path / "plain", config=config)
    rewrite(tmp_path / "plain", tmp_path / "quantised", case.writer, case.declared)
    return tmp_path / "quantised", tmp_path / "plain"


def spec(folder: Path, weights: Any = "auto", dtype: Any = "float32") -> ModelSpec:
    return ModelSpec(str(folder), device="cpu", dtype=dtype, weights=weights)
