"""The chaos rig as its user starts it: one command, one verdict."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that came to a verdict; `said` is what it told the terminal."""

    status: int
    verdict: dict[str, Any]
    said: str


@pytest.fixture
def chaos(tmp_path: Path) -> Callable[..., Ended]:
    """Do a run with these options, and with these settings in its environment."""

    def run(*options: str, **settings: str) -> Ended:
        file = tmp_path / "verdict.json"
        command = [sys.executable, "-m", "tests.chaos", *options, f"--json={file}", f"--logs={tmp_path / 'logs'}"]
        ended = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        assert file.exists(), ended.stderr
        return Ended(ended.returncode, json.loads(file.read_text()), ended.stderr)

    return run
