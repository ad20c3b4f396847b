"""The kernels for a real card, without one: they compile for it, and for all that will be asked of them."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor

from pelton.workers.engine.cuda.kernels.launching import can_depend, dependent_launch

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


def test_dependent_launches_wait_before_all_else() -> None:
    """On a Hopper card no program reads or writes before the kernel that it follows is done."""
    told = told_by("dependent")
    assert {each["name"] for each in told} == {"_decode_kernel", "_merge_kernel", "_prefill_kernel", "_write_kernel"}
    assert all(each["dependent"] and each["waits"] for each in told)
    assert all(each["accesses"] > each["early"] == 0 for each in told)


def test_launches_depend_where_asked_for_and_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Hopper cards and later; others, and a CPU, launch as ever."""
    for capability, known in (((8, 6), False), ((9, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        for asked in (False, True):
            can_depend.cache_clear()
            with inductor.patch({"triton.enable_pdl": asked}):
                assert set(dependent_launch(torch.device("cuda:0")).values()) == {known and asked}
                assert set(dependent_launch(torch.device("cpu")).values()) == {False}
    can_depend.cache_clear()
