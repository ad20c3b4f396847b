"""The kernels for a real card, without one: they compile for it, and for all that will be asked of them."""

import json
import os
import subprocess
import sys
from typing import Any

SHARED_BYTES = 227 * 1024


def told_by(program: str, *arguments: str) -> Any:
    """The last line of a program that compiles; a warning of Triton's is an error, as it is under pytest on a card."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    module = f"tests.unit.workers.engine._support.{program}"
    command = [sys.executable, "-W", "ignore", "-W", "error:TRITON", "-m", module, *arguments]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_kernels_compile_for_a_card_and_none_is_left_for_later() -> None:
    """Every launch of a run compiles for Hopper within its shared memory, and after warm-up nothing new is compiled."""
    told = told_by("hopper")
    assert all(before == after > 0 for before, after in told["counts"])
    assert told["shared"] <= SHARED_BYTES


def test_wide_heads_fit_cards_with_little_shared_memory() -> None:
    """Those with 99 KiB for a program; `_support/cards.py` compiles all sizes for all cards."""
    assert told_by("cards", "86", "--quick") == []
