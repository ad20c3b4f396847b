"""The kernels for a real card, without one: they compile for it, and for all that will be asked of them."""

import json
import os
import subprocess
import sys

SHARED_BYTES = 227 * 1024


def test_kernels_compile_for_a_card_and_none_is_left_for_later() -> None:
    """Every launch of a run compiles for Hopper within its shared memory, and after warm-up nothing new is compiled."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    program = [sys.executable, "-W", "ignore", "-W", "error:TRITON", "-m", "tests.unit.workers.engine._support.hopper"]
    done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert all(before == after > 0 for before, after in told["counts"])
    assert told["shared"] <= SHARED_BYTES
