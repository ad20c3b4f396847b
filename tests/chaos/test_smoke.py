"""A small storm in every test run; `make chaos` makes long ones."""

import pytest

from tests.chaos.checker import SHARED, Wrong
from tests.chaos.history import Kind
from tests.chaos.schedule import Fault

QUICK = {"PELTON_ENGINE__SIMULATED__ITL_MS": "15"}


@pytest.mark.timeout(180)
def test_every_fault_once_and_every_request_answered_once(chaos):
    """Three workers under one fault of each kind: nothing lost, nothing twice, nothing unknown or corrupt."""
    faults = f"--faults={len(Fault) - 1}"  # poison is counted apart
    ended = chaos("--seed=4", "--minutes=0.45", "--requests=500", faults, "--poison=1", **QUICK)
    assert {wrong: ended.verdict[wrong] for wrong in Wrong} == dict.fromkeys(Wrong, 0), ended.verdict["examples"]
    assert ended.status == 0, ended.said
    assert ended.verdict["faults"] == dict.fromkeys(Fault, 1)
    assert ended.verdict["stored"] == ended.verdict["replies"]
    assert set(ended.verdict["sent"]) == set(Kind)
    assert sum(ended.verdict["outcomes"].get(outcome, 0) for outcome in SHARED) > 0
