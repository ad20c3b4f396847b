"""Linear layers of all sizes with rows to give them: among these tiny, huge and outlying numbers."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn


@st.composite
def linears(draw: st.DrawFn) -> tuple[nn.Linear, Tensor]:
    """A layer, and rows of its inputs, [rows, in]."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    inputs = draw(st.integers(1, 70))
    linear = nn.Linear(inputs, draw(st.integers(1, 40)), bias=draw(st.booleans())).requires_grad_(False)
    rows = torch.randn(draw(st.integers(1, 9)), inputs) * draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e4]))
    if draw(st.booleans()):
        rows[0, 0] *= 1000
    return linear, rows
