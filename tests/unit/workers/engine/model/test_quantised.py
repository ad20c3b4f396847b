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


@pytest.mark.parametrize("config", [GLM4_MOE, QWEN3_MOE], ids=["glm4_moe", "qwen3_moe"])
def test_experts_are_kept_too(tmp_path: Path, config: Any) -> None:
    """Their weights lie in one tensor for all; unpacked they give what the plain checkpoint gives, as for any layer."""
    quantised, plain = saved(tmp_path, CASES["compressed fp8 channel"], config)
    expected = read(spec(plain))
    torch.testing.assert_close(logits(read(spec(quantised))), logits(expected), rtol=0, atol=1e-5)
    kept = load(spec(quantised, "fp8"))
    assert any(isinstance(module, Fp8Experts) for module in kept.model.modules())
    round_rows(expected.model)
    for module in expected.model.modules():
        if hasattr(module, "gate_up_proj"):
            module.forward = experts_on_rounded_rows(module)
    torch.testing.assert_close(logits(kept), logits(expected), rtol=0, atol=1e-4)


def experts_on_rounded_rows(experts: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Token by token, expert by expert."""

    def forward(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        result = torch.zeros_like(hidden)
        for token, rows in enumerate(hidden):
            for expert, weight in zip(chosen[token].tolist(), weights[token], strict=True):
                gate, up = functional.linear(rounded(rows), experts.gate_up_proj[expert]).chunk(2)
                mixed = rounded(functional.silu(gate) * up)
                result[token] += weight * functional.linear(mixed, experts.down_proj[expert])
        return result

    return forward


def weights_of(**weights: Any) -> dict[str, Any]:
    return compressed("float-quantized", **{**FP8, "strategy": "channel", **weights})


REFUSED = {
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"bitsandbytes of 4 bits, which is not"),
    "mxfp4": ({"quant_method": "mxfp4"}, "mxfp4, which is not read"),
    "modelopt": ({"quant_method": "modelopt"}, "modelopt, which is not read"),
    "torchao": ({"quant_method": "torchao"}, "torchao, which is not read"),
    "unnamed": ({"bits": 4}, "an unnamed method, which is not read"),
    "scales of keys": (CHANNEL | {"kv_cache_scheme": FP8}, r"scales for keys and values \(kv_cache_scheme\)"),
    "rotations": (CHANNEL | {"transform_config": {"config_groups": {"R1": {}}}}, "rotations of activations"),
    "sparse": (CHANNEL | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse weights .sparse-24-bitmask"),
    "zero points": (weights_of(symmetric=False), r"zero points \(symmetric: false\)"),
    "order by group": (weights_of(actorder="group"), r"columns in another order \(actorder: group\)"),
    "nvfp4": (compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group"), "scales by tensor_g"),
    "marlin": (
        compressed("marlin-24", num_bits=4, type="int", strategy="channel"), r"int4 \(channel\) weights in the format mar"
    ),
    "mixed": (
        CHANNEL | {"config_groups": {
            "a": weights_of()["config_groups"]["group_0"], "b": weights_of(strategy="tensor")["config_groups"]["group_0"],
        }}, "2 different schemes",
    ),
    "e5m2": (FINE | {"fmt": "e5m2"}, "numbers of the type e5m2"),
    "gptq of 3 bits": (GPTQ | {"bits": 3}, "gptq, and has 3 bits"),
    "gptq by layer": (GPTQ | {"dynamic": {"-:.*": {}}}, "other sizes in some layers"),
    "gptq marlin": (GPTQ | {"checkpoint_format": "marlin"}, "the checkpoint format marlin"),
    "awq gemv": (AWQ | {"version": "gemv"}, 'the kind "gemv"'),
    "not as documented": ({"quant_method": "gptq"}, "not as documented"),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "words"), REFUSED.values(), ids=REFUSED)
def test_other_formats_are_refused_by_name(declared: dict[str, Any], words: str) -> None:
    """With what the format has that is not read, and what to set instead."""
    with pytest.raises(ModelLoadError, match=words) as refusal:
        format_of("m", declared)
    message = str(refusal.value)
    assert message.startswith("model.path: m is quantised by ")
    assert "set model.path to an unquantised copy of the model, or to one quantised by compressed-tensors" in message


DAMAGES: dict[str, tuple[str, Callable[[dict[str, Tensor], str], object], str]] = {
    "no scale": ("compressed fp8 channel", lambda all_, name: all_.pop(f"{name}.weight_scale"), "not of that format"),
    "no weight": ("compressed fp8 channel", lambda all_, name: all_.pop(f"{name}.weight"), "not of that format"),
    "short scale": (
        "compressed fp8 channel",
        lambda all_, name: all_.update({f"{name}.weight_scale": torch.ones(3, 1)}), r"scales of shape \[3, 1\] instead",
    ),
    "wide type": (
        "compressed fp8 channel",
        lambda all_, name: all_.update({f"{name}.weight": all_[f"{name}.weight"].half()}), "torch.float16 instead of",
    ),
    "scales of keys": (
        "compressed fp8 channel",
        lambda all_, _: all_.update({"model.layers.0.self_attn.k_scale": torch.ones(1)}), r"k_scale.*unquantised copy",
    ),
    "block scales of another size": (
        "fine-grained",
        lambda all_, name: all_.update({f"{name}.weight_scale_inv": torch.ones(4, 4)}), r"\[4, 4\] instead of \[1, 2\]",
    ),
    "uneven groups": (
        "gptq", lambda all_, name: all_[f"{name}.g_idx"].fill_(0), r"groups \(g_idx\) that are not of 16 inputs each",
    ),
    "zero points of two meanings": ("gptq", lambda all_, name: all_[f"{name}.qzeros"].fill_(-1), "understand different"),
    "another shape": (
        "compressed int4",
        lambda all_, name: all_.update({f"{name}.weight_shape": torch.tensor([32, 40])}), r"states the shape \[32, 40\]",
    ),
    "zero points": (
        "compressed int4",
        lambda all_, name: all_.update({f"{name}.weight_zero_point": torch.zeros(4, 3)}), "weight_zero_point",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_tensors_that_are_not_as_declared_are_named(
    tmp_path: Path, case: str, damage: Callable[[dict[str, Tensor], str], object], words: str
) -> None:
    """A scale that is missing, or of another layout, is never guessed."""
    folder, _ = saved(tmp_path, CASES[case])
    tensors = {name: each.clone() for name, each in load_file(folder / "model.safetensors").items()}
    damage(tensors, "model.layers.0.mlp.down_proj")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=words) as refusal:
        read(spec(folder))
    assert str(refusal.value).startswith("model.path: ")


def test_an_unread_format_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    """At the start, by the name of the format."""
    save_model(tmp_path)
    declare(tmp_path, {"quant_method": "hqq"})
    with pytest.raises(ModelLoadError, match=r"model\.path: .* is quantised by hqq, which is not read here"):
        read(spec(tmp_path))
