"""When Redis may decide alone, when a worker gives its part, and when it gives nothing."""

from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.quotas.account import Ask
from pelton.cache.quotas.belief import Belief, Timing
from pelton.cache.quotas.group_size import GroupSize
from pelton.cache.quotas.waits import fitting, in_order, merged

TIMING = Timing()
steps = st.tuples(st.floats(0, 40), st.sampled_from(["lost", "heard"]), st.sampled_from(["a", "a", "b"]), st.booleans())


@given(st.lists(steps, max_size=30))
def test_redis_decides_alone_only_when_all_is_told(happened: list[tuple[float, str, str, bool]]) -> None:
    """It answers, the worker has listened, and whatever was marked or found to be other data has left the window; who
    has not known a tenant while that was so gives nothing for a window, or until it is so.
    """
    belief, now, first = Belief(TIMING, 0.0), 0.0, None
    broken_at: float | None = None
    whole_at, away_since = 0.0, None
    for later_s, what, epoch, is_marked in happened:
        now += later_s
        if what == "lost":
            belief.lost(now)
            away_since = now if away_since is None else away_since
        else:
            if is_marked or belief.marks(now):
                broken_at = now
            assert belief.marks(now) == (away_since is not None and now - away_since >= TIMING.marks_after_s)
            belief.heard(now, epoch, None if broken_at is None else (now - broken_at) * 1000)
            first, away_since = now if first is None else first, None
        is_whole = belief.is_whole(now)
        if is_whole:
            assert first is not None
            assert now >= first + TIMING.listen_s
            assert away_since is None
            assert broken_at is None or now >= broken_at + TIMING.leaves_s - 1e-6
            whole_at = now
        for knows_tenant in (True, False):
            held_s = belief.holds_back_s(now, knows_tenant=knows_tenant)
            assert held_s <= TIMING.leaves_s + TIMING.beat_s + 1e-6
            if not knows_tenant and not is_whole and held_s == 0:
                assert now >= whole_at + TIMING.leaves_s - 1e-6
            if away_since is not None and now < away_since + TIMING.grace_s:
                assert held_s > 0
        if is_whole:
            assert belief.holds_back_s(now, knows_tenant=False) == 0


def test_other_data_than_were_known_are_noticed() -> None:
    """Once; the first that a worker hears of are no others."""
    belief = Belief(TIMING, 0.0)
    assert [belief.heard(now, epoch, None) for now, epoch in enumerate("aabba")] == [False, False, True, False, True]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), min_size=1, max_size=30))
def test_a_worker_that_has_left_counts_until_its_part_has_left_the_window(counts: list[tuple[float, int]]) -> None:
    """The largest group of those seen within the window, the newest at least."""
    size, now = GroupSize(TIMING.leaves_s), 0.0
    seen: list[tuple[float, int]] = []
    for later_s, count in counts:
        now += later_s
        size.counted(count, now)
        seen.append((now, count))
        assert size.most(now) == max(1, *(each for at, each in seen if at >= now - TIMING.leaves_s))


@given(st.lists(st.sampled_from([0.0, 0.5, 2.0]), max_size=8), st.booleans())
def test_waits_of_those_that_were_not_asked_for_stand(held: list[float], strictly: bool) -> None:
    """And with order nobody goes before one that has to wait."""
    asks = [Ask(str(number), 1) for number in range(len(held))]
    ordered = in_order(held, strictly=strictly)
    if strictly:
        place = ordered.index(next(wait for wait in ordered if wait)) if any(ordered) else len(ordered)
        assert not any(ordered[:place])
        assert all(ordered[place:])
    else:
        assert ordered == held
    answered = [0.25] * len(fitting(asks, ordered))
    assert merged(ordered, answered) == [wait or 0.25 for wait in ordered]
