"""The library of kernels: compiled once for each machine, and not at all where that cannot be."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pelton.workers.engine.native import compiling
from pelton.workers.engine.native.compiling import keep_library_in, library
from tests.unit.workers.engine._support.native import NEEDS_KERNELS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernels are for Linux")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of temporary files of its own, and no library from before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiling, "_kept_in", None)
    monkeypatch.delenv("CC", raising=False)
    library.cache_clear()
    yield
    library.cache_clear()


def says(folder: Path, name: str, script: str) -> str:
    """A program of that name, which runs `script`."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@NEEDS_KERNELS
def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process finds the file, and needs no compiler for it; PyTorch has as many threads as before."""
    threads = torch.get_num_threads()
    assert library() is not None
    assert torch.get_num_threads() == threads
    library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert library() is not None


@NEEDS_KERNELS
def test_it_is_kept_where_it_is_said(tmp_path: Path) -> None:
    """As temporary files may be where nothing can be run from; the folder is made."""
    keep_library_in(tmp_path / "caches" / "kernels")
    assert library() is not None
    assert [each.suffix for each in (tmp_path / "caches" / "kernels").iterdir()] == [".so"]


def test_a_machine_without_a_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, as it costs speed only."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level("INFO"):
        assert library() is None
        assert library() is None
    assert len(caplog.messages) == 1
    assert "apt-get install gcc libc6-dev" in caplog.text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'error: no omp.h' >&2; echo more >&2; exit 1", r"error: no omp\.h\)"),
        ("exec sleep 60", r"took more than 2 s"),
        ('while [ "$1" != -o ]; do shift; done; echo text > "$2"', r"invalid ELF header|file too short"),
    ],
    ids=["fails", "hangs", "makes-something-else"],
)
def test_a_compiler_that_makes_no_library_is_given_up(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the first line of what it says, after a bounded time; nothing half-made is left."""
    monkeypatch.setattr(compiling, "_COMPILE_S", 2)
    monkeypatch.setenv("CC", says(tmp_path, "compiler", script))
    with caplog.at_level("INFO"):
        assert library() is None
    assert re.search(said, caplog.text)
    assert not [each for each in (tmp_path / f"pelton-kernels-{os.getuid()}").iterdir() if each.suffix != ".so"]


@NEEDS_KERNELS
def test_threads_of_its_own_are_not_wanted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """They would wait for cores on which PyTorch's threads wait for work."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with caplog.at_level("INFO"):
        assert library() is None
    assert "another OpenMP" in caplog.text


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A library of theirs would be run."""
    folder = tmp_path / f"pelton-kernels-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with caplog.at_level("INFO"):
        assert library() is None
    assert str(folder) in caplog.text
    assert "remove it" in caplog.text
