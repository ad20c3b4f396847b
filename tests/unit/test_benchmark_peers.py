"""Who is compared on a CPU, and beside whom."""

import json
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.engine import cpu_mixed
from benchmarks.engine.cpu_mixed import CONTENDERS, chosen
from benchmarks.engine.cpu_peers import Seconds, kept, report
from benchmarks.engine.peers import llama, openvino
from benchmarks.support.neighbours import Neighbours


def seconds(*walls: float) -> list[Seconds]:
    return [Seconds(wall, 2 * wall) for wall in walls]


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which says how to install it; all others run."""
    monkeypatch.setitem(cpu_mixed.MISSING, "llama.cpp", lambda: "there is none: install it")
    monkeypatch.setitem(cpu_mixed.MISSING, "OpenVINO GenAI", lambda: None)
    assert chosen(None) == [name for name in CONTENDERS if name != "llama.cpp"]
    assert "Without llama.cpp, as there is none: install it" in capsys.readouterr().err


def test_a_peer_that_is_asked_for_and_missing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without it would not be what was asked for."""
    monkeypatch.setitem(cpu_mixed.MISSING, "OpenVINO GenAI", lambda: "there is none: install it")
    with pytest.raises(SystemExit, match="OpenVINO GenAI: there is none: install it"):
        chosen(["OpenVINO GenAI"])
    assert chosen(["engine with int8 weights"]) == ["engine", "engine with int8 weights"]


def test_what_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a person would type it."""
    monkeypatch.setattr(openvino, "find_spec", lambda _: None)
    assert "pip install openvino-genai" in str(openvino.missing())
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert llama.missing() == "node is not installed"
    monkeypatch.setattr(shutil, "which", str)
    monkeypatch.setattr(llama, "ENTRY", tmp_path / "none.js")
    assert "npm install" in str(llama.missing())


def test_what_is_kept_is_of_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    """A single slow run moves neither."""
    quiet = {"engine": seconds(1, 1, 9), "peer": seconds(2, 2, 2)}
    beside = {"engine": seconds(2, 2, 1), "peer": seconds(8, 8, 80)}
    assert kept(quiet, beside) == {"engine": 0.5, "peer": 0.25}
    report("title", {"engine": 100, "peer": 100}, beside, kept(quiet, beside))
    table, told = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "0.25" in table
    assert json.loads(told)["kept"] == {"engine": 0.5, "peer": 0.25}


def test_neighbours_compute_only_while_they_are_busy() -> None:
    """And take what a core has then."""
    with Neighbours(1) as neighbours:
        with neighbours.busy():
            ends = time.monotonic() + 20
            while neighbours.cpu_seconds < 0.2 and time.monotonic() < ends:
                time.sleep(0.05)
        spent = neighbours.cpu_seconds
        assert spent >= 0.2
        time.sleep(0.2)
        assert neighbours.cpu_seconds == spent
