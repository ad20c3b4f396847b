"""The two ways in which a CPU computes what lies between products: C kernels, and PyTorch's operations."""

import pytest
import torch

from pelton.workers.engine.native import kernels
from pelton.workers.engine.native.kernels import Kernels, kernels_for

NEEDS_KERNELS = pytest.mark.skipif(
    kernels_for(torch.float32, torch.device("cpu")) is None, reason="no C compiler for kernels on PyTorch's threads"
)
BOTH_WAYS = [pytest.param(True, marks=NEEDS_KERNELS, id="kernels"), pytest.param(False, id="operations")]


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a C compiler."""
    monkeypatch.setattr(kernels, "_kernels", lambda: None)


def the_kernels() -> Kernels:
    found = kernels_for(torch.float32, torch.device("cpu"))
    assert found is not None
    return found
