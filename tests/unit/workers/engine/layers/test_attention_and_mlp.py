"""Attention and feed-forward layers in fewer operations: the same answers from either engine, and where they apply."""

import copy
from typing import Any

import pytest
import torch

from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.layers.attention import FusedAttention
from pelton.workers.engine.layers.fused_linear import FusedLinear
from pelton.workers.engine.layers.mlp import FusedMlp
from pelton.workers.engine.model.loading import prepare, wrap
from tests.unit.workers.engine._support.native import BOTH_WAYS, without_kernels
from tests.unit.workers.engine._support.reference import CONFIGS, pristine, prompt_of, run

STOCK_ATTENTION = ("phi3", "gemma", "glm4-moe", "qwen3-moe", "mixtral", "olmoe")
LEAN_ATTENTION = [family for family in CONFIGS if not family.startswith(STOCK_ATTENTION)]


def prepared(family: str) -> Any:
    """A model as it is loaded for a CPU."""
    loaded = wrap(copy.deepcopy(pristine(family)))
    prepare(loaded)
    return loaded.model


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("family", CONFIGS)
def test_the_continuous_engine_answers_as_before(family: str, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family says, prepared for a CPU, what `generate` says with the model as it came."""
    if not native:
        without_kernels(monkeypatch)
    limits = ContinuousConfig(kv_memory_gib=0.01, max_batch_tokens=13, max_running=3)
    run(ContinuousEngine(wrap(prepared(family)), limits), family, [(1, 4), (23, 1), (9, 2)])


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", LEAN_ATTENTION)
def test_transformers_own_attention_answers_as_before(
    family: str, attention: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A padded batch with a cache, as `generate` makes it, gives the same logits through lean layers."""
    if not native:
        without_kernels(monkeypatch)
    stock, lean = copy.deepcopy(pristine(family)), prepared(family)
    logits = []
    for model in (stock, lean):
        model.set_attn_implementation(attention)
        rows = torch.tensor([[0, 0, 0, *prompt_of(6, 1)], prompt_of(9, 2)])
        mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1], [1] * 9])
        output = model.generate(
            rows, attention_mask=mask, max_new_tokens=12, min_new_tokens=12, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        logits.append(torch.stack(output.logits))
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_replaced(family: str) -> None:
    """Whole layers of some families, the feed-forward halves of the others, whose projections are joined as ever.

    Experts stay as they are.
    """
    for layer in prepared(family).model.layers:
        assert isinstance(layer.mlp, FusedMlp) is not hasattr(layer.mlp, "experts")
        assert isinstance(layer.self_attn, FusedAttention) is (family in LEAN_ATTENTION)
        if family.startswith("gemma"):
            assert isinstance(layer.self_attn.q_proj, FusedLinear)
