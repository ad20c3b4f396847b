"""Attention layers whose operator norms and turns: it is told just what the layer that they replace would have done."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.paged_op import ATTENTION, attending, paged_attention, register
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.layers.operator_attention import OperatorAttention, fuse_into_operator
from tests.unit.workers.engine._support.plain_attention import normed_and_turned
from tests.unit.workers.engine._support.reference import CONFIGS, pristine

KEPT = {"olmoe"}
"""Its norms are over all heads together."""


@dataclass(frozen=True)
class Seen:
    """What attention was given, queries and keys normed and turned; it answers with the queries."""

    given: list[tuple[int, Tensor, Tensor, Tensor, AttentionParams]] = field(default_factory=list)
    pending: list[NormRope | None] = field(default_factory=list)

    def attend(  # noqa: PLR0913, PLR0917 (the protocol's)
        self,
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scoring: AttentionParams,
        norm_rope: NormRope | None = None,
    ) -> Tensor:
        self.pending.append(norm_rope)
        if norm_rope is not None:
            queries = normed_and_turned(queries, norm_rope.query_weight, norm_rope)
            keys = normed_and_turned(keys, norm_rope.key_weight, norm_rope)
        self.given.append((layer, queries, keys, values, scoring))
        return queries.contiguous().clone()


@torch.inference_mode()
def answered(model: Any) -> tuple[Seen, Tensor]:
    seen = Seen()
    with attending(seen):
        tokens = torch.arange(3, 16)[None]
        logits = model(input_ids=tokens, position_ids=torch.arange(40, 53)[None], use_cache=False).logits
    return seen, logits


def trained(family: str) -> Any:
    """A model whose norms are not as they were made, with the operator for its attention."""
    model = copy.deepcopy(pristine(family))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data += torch.linspace(-0.5, 0.5, parameter.numel())
    register()
    model.set_attn_implementation(ATTENTION)
    return model


@pytest.mark.parametrize("family", CONFIGS)
def test_the_operator_is_told_what_the_layer_did(family: str) -> None:
    """Heads, windows, caps and scales of every layer are those of transformers' own, and so are the answers."""
    model = trained(family)
    stock, logits = answered(model)
    fuse_linears(model)
    fuse_into_operator(model, paged_attention)
    fused, fused_logits = answered(model)
    assert all(each is None for each in stock.pending)
    assert all((each is None) is (family in KEPT) for each in fused.pending)
    assert [(one[0], one[4]) for one in fused.given] == [(one[0], one[4]) for one in stock.given]
    for got, want in zip(fused.given, stock.given, strict=True):
        torch.testing.assert_close(got[1:4], want[1:4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused_logits, logits, atol=1e-4, rtol=1e-4)


def test_what_is_not_known_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of another name, and norms of another width; a second time nothing is replaced again."""
    model = copy.deepcopy(pristine("qwen3"))
    first, second = model.model.layers
    first.self_attn.q_norm.weight = torch.nn.Parameter(torch.ones(24))
    stranger = type("StrangeAttention", (type(second.self_attn),), {})
    monkeypatch.setattr(second.self_attn, "__class__", stranger)
    fuse_into_operator(model, paged_attention)
    assert not any(isinstance(layer.self_attn, OperatorAttention) for layer in model.model.layers)
    model = copy.deepcopy(pristine("qwen3"))
    fuse_into_operator(model, paged_attention)
    before = [layer.self_attn for layer in model.model.layers]
    fuse_into_operator(model, paged_attention)
    assert [layer.self_attn for layer in model.model.layers] == before
