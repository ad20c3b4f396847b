"""The arg-max kernel against PyTorch's, and broken rows against the sampler's."""

import pytest
import torch

from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.sampling.sampling import broken_rows
from tests.unit.workers.engine._support.kernels import DEVICES


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocab", [1, 7, 8192, 8193, 20_001])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_likeliest_token(dtype: torch.dtype, vocab: int, device: str) -> None:
    """As PyTorch finds it; of equals the lowest, in one part of the vocabulary or in several."""
    logits = torch.randn(5, vocab, generator=torch.Generator().manual_seed(vocab)).to(device, dtype)
    logits[1] = 3.0
    logits[2, vocab // 2 :] = 9.0
    tokens, broken = likeliest(logits)
    highest = logits.amax(-1, keepdim=True)
    assert tokens.tolist() == [row.index(True) for row in (logits == highest).tolist()]
    assert not broken.any()


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_read_where_they_lie(device: str) -> None:
    """Rows may be part of a wider tensor; no rows are no trouble."""
    wide = torch.arange(30.0, device=device).view(3, 10)
    assert likeliest(wide[:, :7])[0].tolist() == [6, 6, 6]
    assert likeliest(wide[:0]).shape == (2, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_broken_rows(device: str) -> None:
    """NaN and infinity anywhere, or nothing but minus infinity: named, with a token that is a valid one."""
    logits = torch.zeros(5, 10_000, device=device)
    logits[0, 17] = torch.nan
    logits[1, 9_999] = torch.inf
    logits[2] = -torch.inf
    logits[3, 4:] = -torch.inf
    tokens, broken = likeliest(logits)
    assert broken.bool().tolist() == broken_rows(logits).tolist() == [True, True, True, False, False]
    assert all(0 <= token < 10_000 for token in tokens.tolist())
