"""The local tier: least recently used first out, nothing past its time, and no more memory than it was given."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.replies.local import LocalTier

KEYS = st.sampled_from([f"pelton:a1:model::{index}" for index in range(12)])
puts = st.tuples(
    st.just("put"),
    KEYS,
    st.binary(max_size=3).map(lambda part: part * 100),
    st.none() | st.sampled_from([-1.0, 1.0, 5.0, 20.0]),
)
gets = st.tuples(st.just("get"), KEYS)
waits = st.tuples(st.just("wait"), st.sampled_from([1.0, 4.0, 11.0]))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(puts | gets | waits, max_size=80), st.integers(1_500, 9_000))
def test_it_is_an_lru_cache_with_times_to_live(operations, max_bytes):
    """What is found is what was put last, within its time; who leaves for room was used before all who stay."""
    clock = Clock()
    tier = LocalTier(max_bytes, ttl_s=10, clock=clock)
    model = {}  # in order of use, the latest last: value and end
    for operation in operations:
        match operation:
            case ("put", key, value, ttl_s):
                model.pop(key, None)
                tier.put(key, value, ttl_s)
                ttl = 10 if ttl_s is None else min(10, ttl_s)
                if ttl > 0:
                    model[key] = value, clock.now + ttl
            case ("get", key):
                value, end = model.pop(key, (None, 0))
                if end > clock.now:
                    model[key] = value, end
                assert tier.get(key) == (value if key in model else None)
            case ("wait", seconds):
                clock.now += seconds
        assert tier.size <= max_bytes or not len(tier)
        # Without a look that would count as use: the latest that are left, and only they.
        left = list(model)[len(model) - len(tier) :]
        assert sum(key in tier._entries for key in left) == len(tier)
        model = {key: model[key] for key in left}


def test_nothing_leaves_while_there_is_room():
    """All that fits stays."""
    tier = LocalTier(1_000_000, ttl_s=10)
    for index in range(500):
        tier.put(str(index), bytes(1_000))
    assert all(tier.get(str(index)) == bytes(1_000) for index in range(500))


def test_a_value_that_never_fits_is_not_kept():
    """Nor does it drive others out; what lay under its key before is gone, since it is no longer true."""
    tier = LocalTier(10_000, ttl_s=10)
    tier.put("other", b"stays")
    tier.put("key", b"old")
    tier.put("key", bytes(10_001))
    assert tier.get("key") is None
    assert tier.get("other") == b"stays"


def test_clearing_leaves_nothing():
    """As after a purge."""
    tier = LocalTier(100_000, ttl_s=10)
    empty = tier.size
    tier.put("key", b"value")
    tier.clear()
    assert (len(tier), tier.get("key"), tier.size) == (0, None, empty)


@pytest.mark.parametrize(
    ("inserts", "max_bytes", "sizes"), [(30_000, 4_000_000, (200, 3_000)), (40_000, 2_000_000, (20, 200))]
)
def test_many_inserts_stay_within_the_bound(inserts, max_bytes, sizes):
    """By tracemalloc within 5 % of it, for long values and for short ones, whose bookkeeping is most of them.

    Traced are the last inserts, several times as many as the tier holds: of what was there before nothing is left then.
    """
    tier = LocalTier(max_bytes, ttl_s=300)
    least, most = sizes
    for index in range(inserts):
        if index == inserts - 25_000:
            tracemalloc.start()
        tier.put(f"pelton:a1:model::{index:064d}", bytes(least + index * 7919 % (most - least)))
    traced, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert traced == pytest.approx(max_bytes, rel=0.05)
    assert tier.size <= max_bytes
