"""Every decoder of bytes from outside, with some hundred nearly right inputs: a taste of `make fuzz`."""

import logging
from random import Random

import pytest

from tests.fuzz.run import Finding, fuzz
from tests.fuzz.targets import TARGETS, Target

CASES = 400


@pytest.mark.parametrize("name", TARGETS)
def test_only_declared_errors_come_of_any_input(name: str) -> None:
    """And some inputs are understood: otherwise nothing behind the first check is reached."""
    logging.disable(logging.CRITICAL)
    try:
        outcome = fuzz(name, TARGETS[name], cases=CASES, seed=0)
    finally:
        logging.disable(logging.NOTSET)
    assert outcome.refused < CASES


def _stumbles(_: Random, data: bytes) -> None:
    if data == b"{":
        raise KeyError(data)


def test_what_is_not_declared_is_a_finding() -> None:
    """It names the target, the seed, the case and the input."""
    with pytest.raises(Finding, match=r"odd, seed 7, case [0-9]+: KeyError.*b'{'"):
        fuzz("odd", Target((b"{",), _stumbles, (ValueError,)), cases=100, seed=7)
