"""Where a model is computed: a card that is there is used, or the start says why not."""

import os
import warnings
from pathlib import Path

import pytest
import torch

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.device import device_for

TOO_OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 12080).\nPlease update it."


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a card whose driver is too old for PyTorch."""
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()

    def unavailable() -> bool:
        warnings.warn(TOO_OLD, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def test_a_card_that_cannot_be_used_is_no_reason_to_run_on_the_cpu(
    cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, with PyTorch's own words and both remedies."""
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    with pytest.raises(
        ModelLoadError,
        match=r"CUDA 13\.2 that finds none; install .*, or set model\.device to cpu.*too old",
    ):
        device_for("auto", cards)
    with pytest.raises(ModelLoadError, match=r"no CUDA device here.*too old"):
        device_for("cuda", cards)


def test_a_card_is_left_alone_where_the_operator_said_so(
    cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By `model.device`, by hiding all cards, by a PyTorch without CUDA (with a warning); and where there is none."""
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    assert device_for("cpu", cards).type == "cpu"
    assert device_for("auto", tmp_path / "none").type == "cpu"
    with monkeypatch.context() as hidden:
        hidden.setenv("CUDA_VISIBLE_DEVICES", "")
        assert device_for("auto", cards).type == "cpu"
    assert not caplog.text
    monkeypatch.setattr(torch.version, "cuda", None)
    assert device_for("auto", cards).type == "cpu"
    assert "built without CUDA" in caplog.text


def test_memory_in_holes_can_be_given_back(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator is set before CUDA starts, unless the operator has set it; not for a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device_for("cpu", cards)
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
    assert device_for("auto", cards).type == "cuda"
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:512")
    device_for("cuda", cards)
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
