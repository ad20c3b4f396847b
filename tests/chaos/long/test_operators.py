"""What operators and senders do, while workers work."""

from tests.chaos.checker import Wrong
from tests.chaos.schedule import OPERATORS, QUICK


def test_what_operators_and_senders_do_costs_no_more_than_it_must(chaos):
    """Topics deleted, grown and made anew, offsets moved, odd records everywhere: each record has what it is due."""
    faults = ("--only", *OPERATORS, f"--faults={len(OPERATORS)}")
    ended = chaos("--seed=4", "--workers=2", "--minutes=0.3", "--requests=300", *faults, "--poison=0", **QUICK)
    assert {wrong: ended.verdict[wrong] for wrong in Wrong} == dict.fromkeys(Wrong, 0), ended.verdict["examples"]
    assert ended.status == 0, ended.said
    assert ended.verdict["faults"] == dict.fromkeys(OPERATORS, 1)
