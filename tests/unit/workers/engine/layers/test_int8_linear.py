"""int8 layers: how far from the layer they may be, exact products, answers of a whole model, memory."""

import copy
import ctypes
import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers import int8_linear
from pelton.workers.engine.layers.attention import fuse_attentions
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.layers.int8_linear import (
    Int8Linear,
    column_factors,
    quantise,
    quantise_linears,
    row_sizes,
)
from pelton.workers.engine.layers.int8_products import (
    AmxProduct,
    FbgemmProduct,
    Int8Product,
    IntMmProduct,
    OneDnnProduct,
    VnniProduct,
    has_fbgemm,
    has_onednn,
)
from pelton.workers.engine.layers.mlp import fuse_mlps
from pelton.workers.engine.layers.norm import fuse_norms
from pelton.workers.engine.model.loading import prepare, wrap
from pelton.workers.engine.model.quantised.precision import typical_tokens
from tests.unit.workers.engine._support.linears import linears
from tests.unit.workers.engine._support.native import BOTH_WAYS, without_kernels
from tests.unit.workers.engine._support.products import NEEDS_AMX, NEEDS_VNNI
from tests.unit.workers.engine._support.reference import PAGE, Answer, assert_is_the_answer, pristine, prompt_of

KERNELS = [
    IntMmProduct,
    pytest.param(VnniProduct, marks=NEEDS_VNNI),
    pytest.param(AmxProduct, marks=NEEDS_AMX),
    pytest.param(FbgemmProduct, marks=pytest.mark.skipif(not has_fbgemm(), reason="no FBGEMM")),
    pytest.param(OneDnnProduct, marks=pytest.mark.skipif(not has_onednn(), reason="this processor has no VNNI")),
]
MIB = 2**20


class PlainInt8(nn.Module):
    """The same arithmetic, a readable line for each step, by products of float64, which are exact."""

    def __init__(self, linear: nn.Linear, factors: Tensor, *, two_steps: bool) -> None:
        super().__init__()
        self.factors, self.two_steps, self.bias = factors, two_steps, linear.bias
        self.weights, self.scales = quantise(linear.weight.detach().float() * factors)

    def forward(self, rows: Tensor) -> Tensor:
        scaled = rows.float() * self.factors.reciprocal()
        largest = scaled.abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)
        quantised = (scaled / largest * 127).round() / 127
        if self.two_steps:
            quantised += ((scaled / largest - quantised) * 254 * 127).round() / 127 / 254
        result = (quantised.double() @ self.weights.double().t()).float() * self.scales * largest
        return (result if self.bias is None else result + self.bias).to(rows.dtype)


def in_plain_int8(model: Any, token_ids: Tensor) -> Any:
    for fuse in (fuse_attentions, fuse_mlps, fuse_norms, fuse_linears):  # what is fused shares its factors
        fuse(model)
    sizes = int8_linear._column_sizes(model, token_ids)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                factors = column_factors(child.weight.detach(), sizes[child])
                setattr(module, name, PlainInt8(child, factors, two_steps=name == "down_proj"))
    return model


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("extreme", [True, False])
@pytest.mark.parametrize("rows", [1, 8, 48, 256])
def test_products_are_exact(kernel: type[Int8Product], extreme: bool, rows: int) -> None:
    """The integer product to the last unit, where all numbers are as large as they may be too."""
    torch.manual_seed(rows)
    floats, levels = torch.randn(40, 97), torch.randint(-127, 128, (rows, 97)).float()
    if extreme:
        floats[:], levels[:] = 1, 127
        floats[1::2] *= -1
        floats[2::4, ::2] *= 1e-3
    weights, scales = quantise(floats)
    exact = levels.double() @ weights.double().t() * scales.double()
    torch.testing.assert_close(kernel(weights, scales)(levels), exact.float(), rtol=1e-6, atol=0)


@given(drawn=linears())
def test_the_error_is_bounded(drawn: tuple[nn.Linear, torch.Tensor]) -> None:
    """Each number is off by no more than half a level of each row and weight lets it be."""
    linear, given_rows = drawn
    with torch.inference_mode():
        scales = quantise(linear.weight.detach())[1].double()
        once, twice = Int8Linear(linear)(given_rows), Int8Linear(linear, two_steps=True)(given_rows)
        exact = linear.double()(given_rows.double())
        lengths = given_rows.double().abs().sum(dim=1, keepdim=True)
        for got, levels in ((once, 127), (twice, 127 * 254)):
            row_error = given_rows.double().abs().amax(dim=1, keepdim=True) / (2 * levels)
            bound = row_error * linear.weight.abs().sum(dim=1) + (lengths + linear.in_features * row_error) * scales / 2
            assert ((got - exact).abs() <= bound * 1.001 + lengths * linear.weight.abs().max() * 1e-5 + 1e-6).all()
    assert (scales <= linear.weight.abs().amax(dim=1) / 63).all()


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), columns=st.integers(1, 70))
def test_sizes_of_rows_are_their_maximum_norms(seed: int, rows: int, columns: int) -> None:
    """To the last bit, also where a row has NaN or infinity."""
    torch.manual_seed(seed)
    given_rows = torch.randn(rows, columns)
    given_rows[0, 0] = (float("nan"), float("-inf"), -0.0)[seed % 3]
    norms = torch.linalg.vector_norm(given_rows, float("inf"), dim=-1, keepdim=True)
    torch.testing.assert_close(row_sizes(given_rows), norms, rtol=0, atol=0, equal_nan=True)


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 20))
def test_a_row_depends_on_no_other(seed: int, rows: int) -> None:
    """To the last bit, however large its neighbours are."""
    torch.manual_seed(seed)
    layer = Int8Linear(nn.Linear(24, 16))
    given_rows = torch.randn(rows, 24) * torch.logspace(-3, 3, rows)[:, None]
    with torch.inference_mode():
        assert torch.equal(layer(given_rows)[1], layer(given_rows[1:2])[0])


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_broken_rows_stay_broken_and_alone(
    kernel: type[Int8Product], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN and infinity are still to be seen behind the layer, zeros give the bias, and neighbours are as ever."""
    linear = nn.Linear(24, 16)
    layer = Int8Linear(linear, kind=kernel)
    if not native:
        without_kernels(monkeypatch)
    given_rows = torch.randn(4, 24)
    expected = layer(given_rows)[0]
    given_rows[1, 3], given_rows[2, 3], given_rows[3] = float("nan"), float("inf"), 0
    got = layer(given_rows)
    assert torch.equal(got[0], expected)
    assert not got[1:3].isfinite().any()
    torch.testing.assert_close(got[3], linear.bias.detach())


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "glm", "phi3", "gemma2", "qwen3-moe"])
def test_answers_equal_plain_int8(
    family: str, dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixed batch through fused layers says what `generate` says with plain int8 layers in their places."""
    if not native:
        without_kernels(monkeypatch)
    untouched = wrap(copy.deepcopy(pristine(family, dtype)))
    plain = in_plain_int8(copy.deepcopy(pristine(family, dtype)), typical_tokens(untouched.model, untouched.tokenizer))
    loaded = prepare(untouched, "int8")
    assert not [module for module in loaded.model.modules() if type(module) is nn.Linear]
    engine = ContinuousEngine(loaded, ContinuousConfig(page_size=PAGE, kv_memory_gib=0.001, max_batch_tokens=13))
    prompts = [prompt_of(length, seed) for length, seed in [(1, 4), (23, 1), (40, 7), (30, 1)]]
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, SamplingParams(8, temperature=0.0, logprobs=0, ignore_eos=True)))
    while engine.running:
        for outcome in engine.step():
            assert isinstance(outcome, Completion)
            # A last bit of a row can tip a level, and a level is a hundredth of a row's largest number.
            assert_is_the_answer(
                outcome, generated(plain, prompts[outcome.request_id]), near=0.15 if dtype == torch.float32 else 0.3
            )


def generated(model: Any, prompt: tuple[int, ...]) -> Answer:
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), max_new_tokens=8,
        do_sample=False, pad_token_id=0, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    tokens = output.sequences[0, len(prompt) :].tolist()
    logits = torch.cat(output.logits).float()
    top = logits.topk(2).values
    logprobs = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
    return Answer(tokens, logprobs.tolist(), (top[:, 0] - top[:, 1]).tolist())


def test_a_gpu_is_refused_by_name() -> None:
    """There are no int8 layers for it; the model is left as it was."""
    loaded = replace(wrap(copy.deepcopy(pristine("llama"))), device=torch.device("cuda"))
    with pytest.raises(ModelLoadError, match=r"engine\.weights: int8 is for a CPU.*set engine\.weights to auto"):
        prepare(loaded, "int8")
    assert type(loaded.model.lm_head) is nn.Linear


class _Linears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(2)))

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        out: Tensor = self.layers(nn.functional.one_hot(input_ids, 4096).float())
        return out


def measured() -> None:
    """Print the memory in MiB that two layers take, and what is left of it when they are quantised."""
    process = psutil.Process()
    before = process.memory_info().rss
    model = _Linears()
    loaded = process.memory_info().rss - before
    quantise_linears(model, torch.tensor([0, 1]))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was needed meanwhile is the allocator's, for the next layers
    left = process.memory_info().rss - before
    if not model(torch.tensor([[0, 1]])).isfinite().all():
        raise RuntimeError("the quantised layers are broken")
    sys.stdout.write(f"{loaded / MIB} {left / MIB}")


def test_memory_falls_by_more_than_half() -> None:
    """Of a process of its own, whose allocator has nothing left over; float32 weights shrink to a quarter."""
    code = f"from {__name__} import measured; measured()"
    root = Path(__file__).parents[5]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    loaded, left = map(float, done.stdout.split())
    assert loaded > 120
    assert left < 0.45 * loaded
