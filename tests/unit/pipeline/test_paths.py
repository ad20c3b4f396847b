"""Where the cache folder is."""

from pathlib import Path

import pytest

from pelton.pipeline.paths import cache_dir


def test_the_named_folder_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`PELTON_CACHE_DIR` is the folder itself, whatever the user's cache folder is."""
    monkeypatch.setenv("PELTON_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "others"))
    assert cache_dir() == tmp_path / "mine"


def test_otherwise_it_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`XDG_CACHE_HOME` is honoured, and `~/.cache` stands in for it."""
    monkeypatch.delenv("PELTON_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "pelton"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "pelton"
