"""Packed linear layers and the digest of weights."""

import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from pelton.workers.engine.layers.packed_linear import PackedLinear, can_pack, pack_linears
from pelton.workers.engine.model.weights_digest import weights_digest

DTYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_a_packed_layer_computes_what_the_layer_did(dtype: torch.dtype, bias: bool, rows: int) -> None:
    """Up to the rounding of its data type, whatever the number of rows."""
    if not can_pack(dtype):
        pytest.skip(f"oneDNN does not take {dtype} weights in its own order on this processor")
    torch.manual_seed(rows)
    linear = nn.Linear(96, 40, bias=bias).to(dtype)
    given = torch.randn(1, rows, 96, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(linear)(given), linear(given))


@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_model_says_the_same(tied: bool) -> None:
    """Every linear layer is replaced, tied embeddings go on to work, and the logits stay."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        before = model(ids).logits
        pack_linears(model)
        assert not [module for module in model.modules() if type(module) is nn.Linear]
        torch.testing.assert_close(model(ids).logits, before)


def test_a_data_type_that_the_cpu_lacks_is_left_alone() -> None:
    """Nothing is packed in a data type that oneDNN would have to emulate."""
    model = nn.Sequential(nn.Linear(4, 4).to(torch.float64))
    model.dtype = torch.float64  # type: ignore[assignment]  # as transformers' models have it
    pack_linears(model)
    assert type(model[0]) is nn.Linear


def test_weights_differ_in_their_digests() -> None:
    """Equal weights have equal digests; other values, another data type or another shape make another one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    digest = weights_digest(model)
    assert digest == weights_digest(copy.deepcopy(model))
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        tuned[1].get_parameter("weight").add_(1e-3)
    others = [tuned, copy.deepcopy(model).bfloat16(), nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 63))]
    assert digest not in [weights_digest(other) for other in others]
