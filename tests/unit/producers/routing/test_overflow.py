"""When another model answers: above one bound, until below the other, and never for a pool that is further behind."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.settings.routing.experiments import Overflow
from pelton.producers.routing.overflow import STALE_S, OverflowSwitch

RULE = Overflow(variant="now", model="small", above_s=60, below_s=20)
seconds = st.floats(0, 200) | st.just(math.inf)


def test_it_stays_between_the_bounds() -> None:
    switch = OverflowSwitch(RULE, clock=lambda: 0.0)
    looks = [(30, False), (61, True), (40, True), (21, True), (19, False), (40, False), (59, False), (math.inf, True)]
    assert [switch.look(behind, 0) for behind, _ in looks] == [is_on for _, is_on in looks]


@given(st.lists(st.tuples(seconds, seconds), max_size=30))
def test_nothing_goes_to_a_pool_that_is_further_behind(looks: list[tuple[float, float]]) -> None:
    """Nor to one that nobody answers; and it is on only while the variant's own is above the lower bound."""
    switch = OverflowSwitch(RULE, clock=lambda: 0.0)
    for behind, other in looks:
        if switch.look(behind, other):
            assert other < behind
            assert not math.isinf(other)
            assert behind > RULE.below_s


def test_an_old_decision_is_given_up() -> None:
    """While nothing can be looked at it holds for a while, and no longer."""
    now = 0.0
    switch = OverflowSwitch(RULE, clock=lambda: now)
    switch.look(100, 0)
    now = STALE_S - 1
    assert switch.is_on
    now = STALE_S + 1
    assert not switch.is_on
