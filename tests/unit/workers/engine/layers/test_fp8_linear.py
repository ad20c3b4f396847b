"""fp8 layers: how far from the layer they may be, what they leave alone, and devices that cannot."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers import fp8_products
from pelton.workers.engine.layers.fp8_experts import Fp8Experts
from pelton.workers.engine.layers.fp8_linear import Fp8Linear, quantise_to_fp8
from pelton.workers.engine.layers.fp8_products import cannot_multiply, grouped_product, quantise, scaled_product
from pelton.workers.engine.model.loading import prepare, wrap
from pelton.workers.engine.model.quantised import precision
from tests.unit.workers.engine._support.linears import linears
from tests.unit.workers.engine._support.reference import pristine

STEP = 1 / 16  # the most by which rounding moves a number, of itself
CPU = torch.device("cpu")


@given(drawn=linears())
def test_the_error_is_bounded(drawn: tuple[nn.Linear, torch.Tensor]) -> None:
    """Each number is off by no more than half a step of itself, and those near nothing by half of the smallest step."""
    linear, given_rows = drawn
    with torch.inference_mode():
        got = Fp8Linear.of(linear)(given_rows).double()
        exact = linear.double()(given_rows.double())
        moved = [each.double().abs() for each in (given_rows, linear.weight)]
        smallest = [each.amax(dim=1, keepdim=True) / 448 * 2**-10 for each in moved]
        most = [each * (1 + STEP) + least for each, least in zip(moved, smallest, strict=True)]
        bound = most[0] @ most[1].t() - moved[0] @ moved[1].t()
    assert ((got - exact).abs() <= bound * 1.001 + exact.abs() * 1e-5 + 1e-30).all()


def test_products_are_off_by_little_of_what_is_summed() -> None:
    """Each operand's rounding is about 2.6 % of it, at random: 3.6 % of a result, and below 2 % of its terms' sizes."""
    torch.manual_seed(1)
    rows, weights = torch.randn(64, 512), torch.randn(256, 512)
    got = scaled_product(rows, *quantise(weights))
    exact = rows @ weights.t()
    assert 0.03 < ((got - exact).norm() / exact.norm()).item() < 0.04
    assert ((got - exact).abs() / (rows.abs() @ weights.abs().t())).max() < 0.02


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 20))
def test_a_row_depends_on_no_other(seed: int, rows: int) -> None:
    """An answer must not depend on what shares its step; NaN stays in its row, and nothing else becomes NaN."""
    torch.manual_seed(seed)
    layer, given_rows = Fp8Linear.of(nn.Linear(32, 16)), torch.randn(rows, 32)
    given_rows[0] = 0
    given_rows[-1, 3] = torch.nan
    with torch.inference_mode():
        together, alone = layer(given_rows), torch.cat([layer(row[None]) for row in given_rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert together[-1].isnan().all()
    assert not together[:-1].isnan().any()


def test_groups_are_computed_each_by_its_own_weights() -> None:
    """Groups without rows and rows after the last group too; a card is given what its one product takes."""
    torch.manual_seed(2)
    rows, weights = torch.randn(9, 32), torch.randn(4, 16, 32)
    ends = torch.tensor([3, 3, 8, 8], dtype=torch.int32)
    levels, scales = quantise(weights)
    got = grouped_product(rows, levels, scales, ends)
    for group, (start, end) in enumerate(((0, 3), (3, 3), (3, 8), (8, 8))):
        assert got[start:end].equal(scaled_product(rows[start:end], levels[group], scales[group]))
    assert not got[8:].any()
    with FakeTensorMode(), torch.device("cuda"):
        many = grouped_product(torch.empty(9, 32), _fp8(4, 16, 32), torch.empty(4, 16, 1), torch.empty(4).int())
        one = scaled_product(torch.empty(9, 32), _fp8(16, 32), torch.empty(16, 1))
    assert (many.shape, one.shape, many.dtype, one.dtype) == ((9, 16), (9, 16), torch.bfloat16, torch.bfloat16)


def _fp8(*sizes: int) -> Tensor:
    return torch.empty(sizes, dtype=torch.float8_e4m3fn)


class Plain(nn.Module):
    """The same arithmetic by products of float32 numbers."""

    def __init__(self, layer: Fp8Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight.float() * layer.weight_scale, layer.bias

    def forward(self, rows: Tensor) -> Tensor:
        levels, scales = quantise(rows)
        return nn.functional.linear(levels.float() * scales, self.weight, self.bias)


@pytest.mark.parametrize("family", ["llama", "qwen2", "glm4-moe", "mixtral"])
def test_a_whole_model_is_computed_in_fp8(family: str) -> None:
    """All layers but the last, embeddings and routers, joined ones and experts too: as by plain float32 arithmetic."""
    loaded = prepare(wrap(copy.deepcopy(pristine(family))), "fp8")
    model = loaded.model
    tokens = torch.randint(2, 199, (1, 12), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        got = model(input_ids=tokens).logits
    layers = [(module, *each) for module in list(model.modules()) for each in list(module.named_children())]
    replaced = [each for each in layers if type(each[2]) is Fp8Linear]
    for parent, name, child in replaced:
        setattr(parent, name, Plain(child))
    with torch.inference_mode():
        torch.testing.assert_close(got, model(input_ids=tokens).logits, rtol=0, atol=1e-3)
    assert loaded.weights == "fp8 (scaled_mm)"
    assert len(replaced) >= 2 * 2
    assert any(isinstance(module, Fp8Experts) for module in model.modules()) == (family in {"glm4-moe", "mixtral"})


def test_layers_of_odd_sizes_stay_as_they_are() -> None:
    """Cards take multiples of 16; a layer that is none keeps its numbers, and is counted for the log."""
    model = copy.deepcopy(pristine("llama"))
    model.model.layers[0].mlp.down_proj = nn.Linear(64, 47)
    assert quantise_to_fp8(model) == 5  # its keys and values have 24 outputs
    assert type(model.model.layers[0].mlp.down_proj) is nn.Linear


def test_a_layer_compiles_as_one_graph() -> None:
    """For any number of rows: a GPU runs the body compiled."""
    layer = Fp8Linear.of(nn.Linear(32, 16))
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.inference_mode():
        for rows in (torch.randn(3, 32), torch.randn(7, 32)):
            torch.testing.assert_close(compiled(rows), layer(rows))


def test_a_device_that_cannot_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a model is loaded; for experts, which fewer cards multiply, before they are quantised."""

    def raises(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("only supported on CUDA devices with compute capability >= 8.9\nand more")

    assert cannot_multiply(CPU, grouped=True) is None
    monkeypatch.setattr(fp8_products, "grouped_product", raises)
    assert cannot_multiply(CPU) is None
    with pytest.raises(ModelLoadError, match=r"mixture of experts .* and cpu has none \(only supported .* >= 8.9\)"):
        prepare(wrap(copy.deepcopy(pristine("glm4-moe"))), "fp8")
    monkeypatch.setattr(fp8_products, "scaled_product", raises)
    with pytest.raises(ModelLoadError, match=r"engine\.weights: fp8 needs .* 8\.9 or later, and cpu does not \(only"):
        precision.check_weights("fp8", CPU)
    monkeypatch.setattr(fp8_products, "scaled_product", lambda *_: torch.ones(()))
    assert cannot_multiply(CPU) == "a product of ones is wrong"
