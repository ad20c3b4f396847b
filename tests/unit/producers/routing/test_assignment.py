"""Who has which variant: the shares are right, and a change of weights moves only whom it has to."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.ab.intervals import share_mismatch
from pelton.producers.routing.assignment import assigned, is_shadowed, unit_hash

UNITS = [f"user-{number}" for number in range(3_000)]
names = st.text("abcdefghij", min_size=1, max_size=4)
weights = st.floats(0.05, 50)
experiments = st.dictionaries(names, weights, min_size=1, max_size=5)


def counts(weights_by_name: dict[str, float], salt: str) -> dict[str, int]:
    found = dict.fromkeys(weights_by_name, 0)
    for unit in UNITS:
        found[assigned("reports", salt, weights_by_name, unit)] += 1
    return found


@given(experiments, st.text(), st.text())
def test_a_unit_has_one_variant_whatever_their_order(dealt: dict[str, float], salt: str, unit: str) -> None:
    """The same arguments give the same variant, in another process and with the variants written in another order."""
    once = assigned("reports", salt, dealt, unit)
    assert once == assigned("reports", salt, dict(reversed(dealt.items())), unit)
    assert once in dealt


@given(experiments, names, weights, st.lists(st.text(), min_size=1, max_size=50))
def test_a_changed_weight_moves_units_to_or_from_that_variant_only(
    dealt: dict[str, float], changed: str, weight: float, units: list[str]
) -> None:
    """A variant that gets more weight, or is new, takes units and gives none; with less it gives and takes none."""
    for unit in units:
        before = assigned("reports", "", dealt, unit)
        after = assigned("reports", "", dealt | {changed: weight}, unit)
        grows = weight >= dealt.get(changed, 0)
        assert before == after or (after if grows else before) == changed


def test_shares_are_as_the_weights_say() -> None:
    """By a chi-square test that a fair deal fails once in a thousand runs; the units are fixed."""
    dealt = {"now": 70.0, "new": 20.0, "other": 10.0}
    for salt in ("", "a", "b", "2026-11"):
        found = counts(dealt, salt)
        assert share_mismatch(list(found.values()), list(dealt.values())) > 0.001, (salt, found)


def test_no_more_units_move_than_must() -> None:
    """From 90:10 to 80:20 a tenth of the units moves, all of them to the variant whose share grows."""
    moved = [
        (before, after)
        for unit in UNITS
        if (before := assigned("x", "", {"a": 90, "b": 10}, unit))
        != (after := assigned("x", "", {"a": 80, "b": 20}, unit))
    ]
    assert set(moved) == {("a", "b")}
    assert abs(len(moved) / len(UNITS) - 0.1) < 4 * math.sqrt(0.1 * 0.9 / len(UNITS))


def test_experiments_and_salts_deal_independently() -> None:
    """Who is in the small half of one experiment is in the small half of another no more often than others."""
    halves = {"a": 1.0, "b": 1.0}
    first = [assigned("one", "", halves, unit) for unit in UNITS]
    for second in (
        [assigned("two", "", halves, unit) for unit in UNITS],
        [assigned("one", "again", halves, unit) for unit in UNITS],
    ):
        both = sum(one == other for one, other in zip(first, second, strict=True))
        assert abs(both / len(UNITS) - 0.5) < 4 * math.sqrt(0.25 / len(UNITS))


def test_the_shadow_is_independent_of_the_variant() -> None:
    """A fifth of the units is copied, of either variant."""
    halves = {"a": 1.0, "b": 1.0}
    for variant in halves:
        mine = [unit for unit in UNITS if assigned("x", "", halves, unit) == variant]
        copied = sum(is_shadowed("x", "", 0.2, unit) for unit in mine)
        assert abs(copied / len(mine) - 0.2) < 4 * math.sqrt(0.16 / len(mine))
    assert all(is_shadowed("x", "", 1, unit) for unit in UNITS)


def test_units_cannot_be_told_from_their_hash_across_experiments() -> None:
    """Two experiments, or two salts, have other hashes of the same user; parts that join alike differ."""
    assert len({unit_hash("a", "", "u"), unit_hash("b", "", "u"), unit_hash("a", "s", "u")}) == 3
    assert unit_hash("a", "bc", "d") != unit_hash("ab", "c", "d")
