"""int8 layers: how far from the layer they may be, exact products, answers of a whole model, memory."""

import copy
import ctypes
import gc

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.layers import int8_linear
from pelton.workers.engine.layers.int8_linear import Int8Linear, quantise, quantise_linears
from pelton.workers.engine.layers.int8_products import (
    FbgemmProduct,
    Int8Product,
    IntMmProduct,
    has_fbgemm,
    weight_levels,
)
from pelton.workers.engine.model.loading import prepare, wrap
from tests.unit.workers.engine._support.reference import PAGE, Answer, assert_is_the_answer, pristine, prompt_of

KERNELS = [IntMmProduct, pytest.param(FbgemmProduct, marks=pytest.mark.skipif(not has_fbgemm(), reason="no FBGEMM"))]
MIB = 2**20


class PlainInt8(nn.Module):
    """The same arithmetic in one readable line for each step, by products of float64, which are exact."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weights, self.scales = quantise(linear.weight.detach(), weight_levels())
        self.bias = linear.bias

    def forward(self, rows: Tensor) -> Tensor:
        largest = rows.float().abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)
        quantised = (rows.float() / largest * 127).round()
        exact = (quantised.double() @ self.weights.double().t()).float()
        result = exact / 127 * self.scales * largest
        return (result if self.bias is None else result + self.bias).to(rows.dtype)


def in_plain_int8(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PlainInt8(child))
    return model


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("extreme", [True, False])
@pytest.mark.parametrize("rows", [1, 8, 48, 256])
def test_products_are_exact(kernel: type[Int8Product], extreme: bool, rows: int) -> None:
    """The integer product to the last unit, where all numbers are as large as they may be too."""
    torch.manual_seed(rows)
    levels = weight_levels()
    weights = torch.randint(-levels, levels + 1, (40, 96), dtype=torch.int8)
    given_rows = torch.randint(-127, 128, (rows, 96)) / 127
    if extreme:
        weights[:] = levels
        given_rows[:] = 1
        weights[1::2] *= -1
    exact = (given_rows * 127).round().double() @ weights.double().t() / 127
    torch.testing.assert_close(kernel(weights)(given_rows), exact.float(), rtol=1e-6, atol=1e-5)


@given(
    seed=st.integers(0, 2**31), rows=st.integers(1, 9), inputs=st.integers(1, 70), outputs=st.integers(1, 40),
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e4]), bias=st.booleans(), outlier=st.booleans(),
)  # fmt: skip
def test_the_error_is_bounded(  # noqa: PLR0913 (a property's draws)
    seed: int, rows: int, inputs: int, outputs: int, size: float, bias: bool, outlier: bool
) -> None:
    """Each number is off by no more than half a level of each row and weight lets it be."""
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=bias)
    given_rows = torch.randn(rows, inputs) * size
    if outlier:
        given_rows[0, 0] *= 1000
    with torch.inference_mode():
        got, exact = Int8Linear(linear)(given_rows), linear.double()(given_rows.double())
        row_error = given_rows.double().abs().amax(dim=1, keepdim=True) / 254
        weight_error = linear.weight.abs().amax(dim=1) / (2 * weight_levels())
        lengths = given_rows.double().abs().sum(dim=1, keepdim=True)
        bound = row_error * linear.weight.abs().sum(dim=1) + (lengths + inputs * row_error) * weight_error
        assert ((got - exact).abs() <= bound * 1.001 + exact.abs() * 1e-5 + 1e-30).all()


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 20))
def test_a_row_depends_on_no_other(seed: int, rows: int) -> None:
    """To the last bit, however large its neighbours are."""
    torch.manual_seed(seed)
    layer = Int8Linear(nn.Linear(24, 16))
    given_rows = torch.randn(rows, 24) * torch.logspace(-3, 3, rows)[:, None]
    with torch.inference_mode():
        assert torch.equal(layer(given_rows)[1], layer(given_rows[1:2])[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_broken_rows_stay_broken_and_alone(kernel: type[Int8Product], monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN and infinity are still to be seen behind the layer, zeros give the bias, and neighbours are as ever."""
    monkeypatch.setattr(int8_linear, "product_kind", lambda: kernel)
    linear = nn.Linear(24, 16)
    layer = Int8Linear(linear)
    given_rows = torch.randn(4, 24)
    expected = layer(given_rows)[0]
    given_rows[1, 3], given_rows[2, 3], given_rows[3] = float("nan"), float("inf"), 0
    got = layer(given_rows)
    assert torch.equal(got[0], expected)
    assert not got[1:3].isfinite().any()
    torch.testing.assert_close(got[3], linear.bias.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "glm", "phi3", "gemma2", "qwen3-moe"])
def test_answers_equal_plain_int8(family: str, dtype: torch.dtype) -> None:
    """A mixed batch through fused and packed layers says what `generate` says with plain int8 layers in their places."""
    plain = in_plain_int8(copy.deepcopy(pristine(family, dtype)))
    loaded = prepare(wrap(copy.deepcopy(pristine(family, dtype))), "int8")
    assert not [module for module in loaded.model.modules() if type(module) is nn.Linear]
    engine = ContinuousEngine(loaded, ContinuousConfig(page_size=PAGE, kv_memory_gib=0.001, max_batch_tokens=13))
    prompts = [prompt_of(length, seed) for length, seed in [(1, 4), (23, 1), (40, 7), (30, 1)]]
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(8, temperature=0.0, logprobs=0, ignore_eos=True)))
    while engine.running:
        for outcome in engine.step():
            assert isinstance(outcome, Completion)
            # A last bit of a row can tip a level, and a level is a hundredth of a row's largest number.
            assert_is_the_answer(outcome, generated(plain, prompts[outcome.request_id]), near=0.15)


def generated(model: nn.Module, prompt: tuple[int, ...]) -> Answer:
    output = model.generate(  # type: ignore[operator]
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), max_new_tokens=8,
        do_sample=False, pad_token_id=0, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    tokens = output.sequences[0, len(prompt) :].tolist()
    logits = torch.cat(output.logits).float()
    top = logits.topk(2).values
    logprobs = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
    return Answer(tokens, logprobs.tolist(), (top[:, 0] - top[:, 1]).tolist())


def test_memory_falls_by_more_than_half() -> None:
    """Of a process, once the layers are replaced; float32 weights shrink to a quarter."""
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    model = nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(2)))
    loaded = process.memory_info().rss - before
    quantise_linears(model)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was needed meanwhile is the allocator's, for the next layers
    left = process.memory_info().rss - before
    assert loaded > 120 * MIB
    assert left < 0.45 * loaded
    assert model(torch.ones(1, 4096)).isfinite().all()
