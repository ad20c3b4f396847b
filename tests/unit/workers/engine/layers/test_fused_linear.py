"""Fused linear layers: the same answers from fewer products, and no silent mistake where their order is another."""

import copy

import pytest
import torch

from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.layers.fused_linear import FusedLinear, fuse_linears
from pelton.workers.engine.model.loading import wrap
from tests.unit.workers.engine._support.reference import CONFIGS, pristine, run


@pytest.mark.parametrize("family", CONFIGS)
def test_answers_stay(family: str) -> None:
    """Every family says with fused layers what `generate` says without."""
    model = copy.deepcopy(pristine(family))
    before = sum(parameter.numel() for parameter in model.parameters())
    fuse_linears(model)
    assert sum(parameter.numel() for parameter in model.parameters()) == before
    limits = ContinuousConfig(kv_memory_gib=0.01, max_batch_tokens=13, max_running=3)
    run(ContinuousEngine(wrap(model), limits), family, [(1, 4), (23, 1)])


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_what_is_fused(family: str) -> None:
    """Queries, keys and values, with their biases where they have any, and both halves of a gated layer."""
    model = copy.deepcopy(pristine(family))
    fuse_linears(model)
    layer = model.model.layers[0]
    fused = [
        layer.self_attn.q_proj,
        layer.self_attn.k_proj,
        layer.self_attn.v_proj,
        layer.mlp.gate_proj,
        layer.mlp.up_proj,
    ]
    assert all(isinstance(each, FusedLinear) for each in fused)
    assert not isinstance(layer.self_attn.o_proj, FusedLinear)


def test_another_order_is_an_error() -> None:
    """A layer called before the first one has no product to take: it says so."""
    model = copy.deepcopy(pristine("llama"))
    fuse_linears(model)
    attention = model.model.layers[0].self_attn
    with pytest.raises(RuntimeError, match="order"):
        attention.k_proj(torch.zeros(1, 48))
