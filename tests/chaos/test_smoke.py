"""A small storm in every test run; `make chaos` makes long ones."""

import pytest

from tests.chaos.checker import Wrong
from tests.chaos.schedule import Fault


@pytest.mark.timeout(180)
def test_every_fault_once_and_every_request_answered_once(chaos):
    """Three workers under one fault of each kind: nothing lost, nothing twice, nothing unknown or corrupt."""
    kinds = [fault.value for fault in Fault if fault is not Fault.POISON]
    ended = chaos("--seed=4", "--minutes=0.6", "--requests=1000", f"--faults={len(kinds)}")
    assert {wrong: ended.verdict[wrong] for wrong in Wrong} == dict.fromkeys(Wrong, 0), ended.verdict["examples"]
    assert ended.status == 0, ended.said
    assert ended.verdict["faults"] == dict.fromkeys(kinds, 1)
    assert ended.verdict["stored"] == ended.verdict["replies"] >= 990
    assert ended.verdict["letters"] > 0
