"""What a machine must have for kernels is looked at first, and said with its remedy."""

import gc
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.executors import check_device
from pelton.workers.engine.cuda.environment import check_compiler, keep_kernels, settle_process
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import LoadedModel
from tests.unit.workers.engine._support.plain_attention import late_engine

CUDA = torch.device("cuda")


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not found, not one, or without Python's headers: each names gcc and the other way out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ModelLoadError, match=r"apt-get install gcc libc6-dev.*model\.device"):
        check_compiler()
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    with pytest.raises(ModelLoadError, match=r"nothing could not compile.*python3-dev"):
        check_compiler()
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\necho 'Python.h: No such file' >&2\nexit 1\n")
    fails.chmod(0o755)
    monkeypatch.setenv("CC", str(fails))
    with pytest.raises(ModelLoadError, match=r"Python\.h: No such file"):
        check_compiler()


def test_a_compiler_that_works_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is given a line that includes Python's header, and nothing is written."""
    works, seen = tmp_path / "works", tmp_path / "seen"
    works.write_text(f"#!/bin/sh\n/bin/cat > {seen}\n")
    works.chmod(0o755)
    monkeypatch.setenv("CC", str(works))
    check_compiler()
    assert seen.read_text() == "#include <Python.h>\n"


@pytest.mark.parametrize("invariant", [False, True])
@pytest.mark.parametrize("page", [8, 24])
def test_pages_that_no_kernel_can_read_are_refused_first(loaded: LoadedModel, page: int, invariant: bool) -> None:
    """Before any memory is measured, whichever executor would run: both are measured with the kernels."""
    limits = ContinuousConfig(page_size=page, batch_invariant=invariant).on(CUDA)
    with pytest.raises(ModelLoadError, match=rf"engine\.page_size: on a GPU a power of two from 16, not {page}"):
        check_device(replace(loaded, device=CUDA), limits)
    check_device(loaded, limits)


def test_kernels_are_kept_from_the_first_one_on(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folders are set when an executor is made, before it computes; the user's own stay."""
    monkeypatch.setenv("TRITON_CACHE_DIR", "mine")
    # Set, and then taken away: so that what the test sets is taken away after it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_kernels(None)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    late_engine(loaded, kernel_cache=tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == "mine"


def test_a_warm_process_collects_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded is left out of collections; a thread's turn comes sooner, never later than it did."""
    interval = sys.getswitchinterval()
    seen: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", seen.append)
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(0))
    settle_process()
    assert seen == [0, min(interval, 1e-3)]


def test_fusion_of_products_and_sums_is_chosen() -> None:
    """Triton warns where it is not, and tests take a warning for an error."""
    assert os.environ["TRITON_DEFAULT_FP_FUSION"] == "1"
