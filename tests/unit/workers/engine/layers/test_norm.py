"""Norms in fewer operations: the same numbers, and only in place of norms of that kind."""

import copy

import pytest
import torch
from torch import nn

from pelton.workers.engine.layers.norm import FusedRmsNorm, fuse_norms
from tests.unit.workers.engine._support.native import BOTH_WAYS, without_kernels
from tests.unit.workers.engine._support.reference import CONFIGS, pristine


@pytest.mark.parametrize("native", BOTH_WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_a_norm_computes_what_it_did(
    family: str, dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every norm is replaced, but none of Gemma's; each gives the same but for a sum's order, and leaves its input."""
    if not native:
        without_kernels(monkeypatch)
    torch.manual_seed(0)
    model = copy.deepcopy(pristine(family)).to(dtype)
    before = {name: each for name, each in model.named_modules() if type(each).__name__.endswith("RMSNorm")}
    for norm in before.values():
        nn.init.normal_(norm.weight)
    fuse_norms(model)
    assert before
    for name, norm in before.items():
        lean = model.get_submodule(name)
        assert isinstance(lean, FusedRmsNorm) is ("gemma" not in family)
        rows = 3 * torch.randn(1, 5, len(norm.weight), dtype=dtype)
        given = rows.clone()
        with torch.inference_mode():
            torch.testing.assert_close(lean(rows), norm(given))
        assert torch.equal(rows, given)
