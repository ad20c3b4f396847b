"""Tenants that wait are given the same number of tokens, whatever they send; lanes come one before the other."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.fairness.fair_order import Claim, FairOrder

LONGEST = 100
claims = st.builds(Claim, st.integers(0, 1), st.sampled_from("abcd"), st.integers(1, LONGEST))


@given(st.lists(claims, max_size=60))
def test_all_go_and_lanes_and_arrivals_are_kept(waiting: list[Claim]) -> None:
    """Everybody is in the order once: the higher lane first, a tenant's own requests as they came."""
    order = FairOrder({}).order(waiting)
    assert sorted(order) == list(range(len(waiting)))
    lanes = [waiting[index].lane for index in order]
    assert lanes == sorted(lanes, reverse=True)
    for account in {claim.account for claim in waiting}:
        own = [index for index in order if waiting[index].account == account]
        assert own == sorted(own)


@given(
    st.lists(st.integers(1, LONGEST), min_size=1, max_size=8),
    st.lists(st.integers(1, LONGEST), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(20, 60),
)
def test_two_that_wait_are_given_the_same(one: list[int], other: list[int], weight: int, rounds: int) -> None:
    """By their weights, within one request of each: whoever asks for more or for larger ones gets no more."""
    fair, given_tokens = FairOrder({"b": float(weight)}), Counter({"a": 0, "b": 0})
    for turn in range(rounds):
        waiting = [Claim(0, "a", one[turn % len(one)])] * 20 + [Claim(0, "b", other[turn % len(other)])]
        claim = waiting[fair.order(waiting)[0]]
        fair.charge(claim)
        given_tokens[claim.tenant] += claim.tokens
    assert abs(given_tokens["a"] - given_tokens["b"] / weight) <= 2 * LONGEST


def test_time_away_earns_no_credit() -> None:
    """Who comes back shares from then on, and does not catch up."""
    fair = FairOrder({})
    for _ in range(100):
        fair.charge([Claim(0, "a", 10)][fair.order([Claim(0, "a", 10)])[0]])
    waiting = [Claim(0, "a", 10), Claim(0, "b", 10)] * 10
    taken = Counter()
    for _ in range(20):
        claim = waiting[fair.order(waiting)[0]]
        fair.charge(claim)
        taken[claim.tenant] += 1
    assert abs(taken["a"] - taken["b"]) <= 1


def test_an_estimate_is_corrected_at_the_end() -> None:
    """Who asks for much and takes little is charged for little."""
    fair, waiting = FairOrder({}), [Claim(0, "a", 100), Claim(0, "b", 10)]
    fair.order(waiting)
    fair.charge(waiting[0])
    assert fair.order(waiting) == [1, 0]
    fair.settle(waiting[0], 5)
    fair.charge(waiting[1])
    assert fair.order(waiting) == [0, 1]


def test_what_is_remembered_is_bounded() -> None:
    """Also where every request names another tenant."""
    fair = FairOrder({})
    for number in range(30_000):
        claim = Claim(0, str(number), 1)
        fair.order([claim])
        fair.charge(claim)
    assert len(fair._given) <= 10_002
