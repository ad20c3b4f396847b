"""Quantised checkpoints of others: those that are read give the numbers that they mean, all others are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from pelton.workers.engine.layers.fp8_experts import Fp8Experts
from pelton.workers.engine.layers.fp8_linear import Fp8Linear
from pelton.workers.engine.model.loading import LoadedModel, load, read
from tests.unit.workers.engine._support.quantised_cases import (
    CASES,
    GLM4_MOE,
    QWEN3,
    QWEN3_MOE,
    TOKENS,
    Case,
    saved,
    spec,
)

KEPT = [name for name, case in CASES.items() if case.kept]


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
