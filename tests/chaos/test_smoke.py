"""A small storm in every test run; `make chaos` makes long ones."""

import pytest

from tests.chaos.checker import SHARED, Wrong
from tests.chaos.history import Kind
from tests.chaos.schedule import PROCESSES, QUICK, Fault


@pytest.mark.timeout(420)
def test_every_fault_once_and_every_request_answered_once(chaos):
    """Three workers under one fault of each kind: nothing lost, nothing twice, nothing unknown or corrupt."""
    faults = ("--only", *PROCESSES, f"--faults={len(PROCESSES)}")
    ended = chaos("--seed=4", "--minutes=0.45", "--requests=500", *faults, "--poison=1", **QUICK)
    assert {wrong: ended.verdict[wrong] for wrong in Wrong} == dict.fromkeys(Wrong, 0), ended.verdict["examples"]
    assert ended.status == 0, ended.said
    assert ended.verdict["faults"] == dict.fromkeys((*PROCESSES, Fault.POISON), 1)
    assert ended.verdict["stored"] == ended.verdict["replies"]
    assert set(ended.verdict["sent"]) == set(Kind)
    assert {"cancelled", "deadline_exceeded", "rate_limited"} <= set(ended.verdict["errors"])
    assert sum(ended.verdict["outcomes"].get(outcome, 0) for outcome in SHARED) > 0
