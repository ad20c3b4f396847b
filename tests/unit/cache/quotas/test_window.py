"""The arithmetic of quotas: no window holds more than the limit, and nobody waits longer than that asks for."""

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.cache.quotas.account import Account, Ask
from pelton.cache.quotas.window import Window
from pelton.pipeline.settings.quota import Quota

WINDOW = Window(length_ms=1_000, slots=20)
START_MS = 1_700_000_000_000.0
waits = st.floats(0, 400)


@settings(max_examples=200)
@given(st.lists(st.tuples(waits, st.integers(1, 30)), max_size=60), st.integers(30, 100))
def test_no_window_holds_more_than_the_limit(arrivals: list[tuple[float, int]], limit: int) -> None:
    """Wherever it begins, edges of slots included; and what is told to wait fits then, and not a slot before."""
    used: Counter[int] = Counter()
    granted: list[tuple[float, int]] = []
    now = START_MS
    for later_ms, charge in arrivals:
        now += later_ms
        wait_ms = WINDOW.wait_ms(used, limit, charge, now)
        if wait_ms > 0:
            assert wait_ms <= WINDOW.length_ms + WINDOW.slot_ms
            if wait_ms > WINDOW.slot_ms:
                assert WINDOW.wait_ms(used, limit, charge, now + wait_ms - WINDOW.slot_ms) > 0
            now += wait_ms
        assert WINDOW.wait_ms(used, limit, charge, now) == 0
        used[WINDOW.slot(now)] += charge
        granted.append((now, charge))
    for begin, _ in granted:
        assert sum(charge for at, charge in granted if begin <= at < begin + WINDOW.length_ms) <= limit


@given(st.integers(1, 7), st.integers(0, 2_000))
def test_all_that_is_allowed_is_given(charge: int, offset_ms: int) -> None:
    """Who asks all the time gets the limit in the long run, but for the slot that counts in full and one request."""
    used: Counter[int] = Counter()
    limit, begin = 100, START_MS + offset_ms
    now, given_tokens = begin, 0
    while now < begin + 10 * WINDOW.length_ms:
        if (wait_ms := WINDOW.wait_ms(used, limit, charge, now)) > 0:
            now += wait_ms
            continue
        used[WINDOW.slot(now)] += charge
        given_tokens += charge
    assert given_tokens >= 10 * (limit - charge) * WINDOW.slots / (WINDOW.slots + 1)


def test_what_never_fits_is_no_wait() -> None:
    """And no limit is none."""
    assert math.isinf(WINDOW.wait_ms({}, 5, 6, START_MS))
    assert WINDOW.wait_ms({WINDOW.slot(START_MS): 10**9}, None, 1, START_MS) == 0


def granted_alone(account: Account, ask: Ask, quota: Quota, now_ms: float, workers: int = 1) -> bool:
    """Whether a worker's part holds it; then it is charged."""
    [wait_ms] = account.part_waits([ask], quota, WINDOW, now_ms, workers)
    if wait_ms == 0:
        account.grant(ask, WINDOW.slot(now_ms))
    return wait_ms == 0


@given(
    st.lists(st.tuples(st.integers(0, 2), waits, st.integers(1, 5)), max_size=80),
    st.dictionaries(st.integers(-20, 0), st.tuples(st.integers(0, 5), st.just(0)), max_size=20),
)
def test_parts_together_are_no_more_than_the_quota(
    arrivals: list[tuple[int, float, int]], before: dict[int, tuple[int, int]]
) -> None:
    """Of three workers that do not hear of each other, what all had used before included."""
    quota, now = Quota(requests_per_minute=60), START_MS
    slot = WINDOW.slot(now)
    history = [(slot + back, *use) for back, use in before.items()]
    accounts = [Account() for _ in range(3)]
    for account in accounts:
        account.heard(history)
    granted = [WINDOW.slot_ms * (at + 1) - 1 for at, requests, _ in history for _ in range(requests)]
    for number, (who, later_ms, _) in enumerate(arrivals):
        now += later_ms
        if granted_alone(accounts[who], Ask(str(number), 1), quota, now, 3):
            granted.append(now)
    for begin in [at for at in granted if at >= START_MS - WINDOW.length_ms]:
        within = sum(begin <= at < begin + WINDOW.length_ms for at in granted)
        assert within <= max(60, sum(use[0] for use in before.values()))


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 4))
def test_asked_for_together_or_one_by_one_a_part_holds_as_much(tokens: list[int], workers: int) -> None:
    """What is granted before in the same round counts as charged."""
    quota, together, by_one = Quota(tokens_per_minute=100, running=6), Account(), Account()
    asks = [Ask(str(number), amount) for number, amount in enumerate(tokens)]
    waits = list(together.part_waits(asks, quota, WINDOW, START_MS, workers))
    assert [wait == 0 for wait in waits] == [granted_alone(by_one, ask, quota, START_MS, workers) for ask in asks]


def test_an_estimate_is_corrected_in_the_slot_in_which_it_was_charged() -> None:
    """And what never ran is given back, its request included."""
    account, quota = Account(), Quota(tokens_per_minute=100, running=2)
    for name in ("a", "b"):
        assert granted_alone(account, Ask(name, 50), quota, START_MS)
    assert not granted_alone(account, Ask("c", 10), quota, START_MS)
    account.settle("a", requests=1, tokens=30)
    account.settle("b", requests=0, tokens=0)
    assert account.used == {WINDOW.slot(START_MS): (1, 30)}
    assert granted_alone(account, Ask("d", 70), quota, START_MS + 60)
    account.settle("d", requests=1, tokens=70)
    account.settle("d", requests=1, tokens=70)
    assert sum(tokens for _, tokens in account.used.values()) == 100
