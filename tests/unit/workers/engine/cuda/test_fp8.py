"""fp8 products on a card, alone and captured, beside the same arithmetic in float32; on a CPU the same tests run."""

import pytest
import torch
from torch import nn

from pelton.workers.engine.layers.fp8_experts import Fp8Experts
from pelton.workers.engine.layers.fp8_linear import Fp8Linear
from pelton.workers.engine.layers.fp8_products import cannot_multiply, grouped_product, quantise
from tests.unit.workers.engine._support.kernels import DEVICES


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.param)
    if reason := cannot_multiply(device):
        pytest.skip(f"{device} does not multiply fp8: {reason}")
    return device


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_a_layer_gives_the_product_of_what_was_rounded(device: torch.device, rows: int) -> None:
    """For one row, an odd number and many; of bfloat16, as a card gives it."""
    torch.manual_seed(rows)
    linear = nn.Linear(512, 256).to(device).requires_grad_(False)
    layer, given = Fp8Linear.of(linear), torch.randn(rows, 512, device=device)
    levels, scales = quantise(given)
    weights = layer.weight.float() * layer.weight_scale
    expected = (levels.float() * scales) @ weights.t() + linear.bias
    torch.testing.assert_close(layer(given), expected, rtol=2**-7, atol=2**-7)


def test_experts_give_what_each_gives(device: torch.device) -> None:
    """An expert without rows, and rows after the last group, disturb nobody."""
    if reason := cannot_multiply(device, grouped=True):
        pytest.skip(f"{device} has no products in groups: {reason}")
    torch.manual_seed(3)
    levels, scales = quantise(torch.randn(4, 96, 64, device=device))
    rows = torch.randn(40, 64, device=device)
    ends = torch.tensor([7, 7, 24, 40], dtype=torch.int32, device=device)
    got, (own, sizes) = grouped_product(rows, levels, scales, ends).float(), quantise(rows)
    for group, (start, end) in enumerate(((0, 7), (7, 7), (7, 24), (24, 40))):
        weights = levels[group].float() * scales[group]
        expected = (own.float() * sizes)[start:end] @ weights.t()
        torch.testing.assert_close(got[start:end], expected, rtol=2**-7, atol=2**-6)


@pytest.mark.gpu
def test_a_captured_step_of_experts_gives_the_same() -> None:
    """Decode steps are replayed: nothing in them may wait for the device or depend on where tokens went before."""
    device = torch.device("cuda")
    if reason := cannot_multiply(device, grouped=True):
        pytest.skip(f"no products in groups: {reason}")
    torch.manual_seed(5)
    gate_up, down = (quantise(torch.randn(8, *size, device=device)) for size in ((128, 64), (64, 64)))
    experts = Fp8Experts(gate_up, down, nn.SiLU())
    rows = torch.randn(16, 64, device=device, dtype=torch.bfloat16)
    chosen, weights = torch.randint(8, (16, 2), device=device), torch.rand(16, 2, device=device)
    with torch.inference_mode():
        experts(rows, chosen, weights)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = experts(rows, chosen, weights)
        for _ in range(3):
            chosen.random_(8)
            rows.normal_()
            graph.replay()
            torch.testing.assert_close(captured, experts(rows, chosen, weights))
