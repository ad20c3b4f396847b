"""The adaptive limit finds what an endpoint carries, stays within its bounds, and comes back after trouble."""

from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.remote.concurrency import AdaptiveLimit
from pelton.workers.remote.endpoint import MAX_FAILURES, Endpoint


def rounds(limit: AdaptiveLimit, count: int, carries: int, start: float = 0.0) -> list[int]:
    """Answer times in which as many requests are sent as the limit allows, and those too many are refused at once."""
    seen = []
    for number in range(count):
        sent = limit.value
        seen.append(sent)
        for _ in range(min(sent, carries)):
            limit.answered(sent)
        for _ in range(sent - carries):
            limit.overloaded(start + number, start + number + 0.5)
    return seen


def test_it_doubles_up_to_the_first_overload_and_then_creeps() -> None:
    """Sixty-four places are found in a few answers' time; where fewer are carried, it saws just below that."""
    assert rounds(AdaptiveLimit(1, 64), 5, carries=1000) == [8, 16, 32, 64, 64]
    saw = rounds(AdaptiveLimit(1, 64), 200, carries=20)[20:]
    assert min(saw) >= 12
    assert max(saw) <= 22
    assert sum(saw) / len(saw) > 16


def test_a_burst_of_overloads_counts_once() -> None:
    """They were all sent before the limit was lowered."""
    limit = AdaptiveLimit(1, 64)
    rounds(limit, 4, carries=1000)
    for _ in range(64):
        limit.overloaded(10.0, 11.0)
    assert limit.value == 44


def test_it_comes_back_soon_after_a_storm() -> None:
    """A storm that leaves the least place is made good in the time of some answers."""
    limit = AdaptiveLimit(1, 64)
    rounds(limit, 4, carries=1000)
    rounds(limit, 30, carries=0, start=100)
    assert limit.value == 1
    assert rounds(limit, 40, carries=1000)[-1] >= 32


def test_what_is_not_used_is_not_raised() -> None:
    """Else an idle hour would end in a flood."""
    limit = AdaptiveLimit(1, 64)
    for _ in range(100):
        limit.answered(running=1)
    assert limit.value == 8


@given(st.integers(1, 40), st.integers(0, 60), st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=200))
def test_it_never_leaves_its_bounds(least: int, more: int, events: list[tuple[bool, int]]) -> None:
    """Whatever happens in whichever order."""
    limit = AdaptiveLimit(least, least + more)
    for answered, at in events:
        if answered:
            limit.answered(at)
        else:
            limit.overloaded(at, at + 1.0)
        assert least <= limit.value <= least + more


def test_an_endpoint_that_fails_is_put_on_trial() -> None:
    """Down after some failures in a row; back with one request at a time, until one is answered."""
    endpoint = Endpoint("http://x/v1", AdaptiveLimit(1, 8), least=1)
    for _ in range(MAX_FAILURES):
        assert endpoint.free(0.0)
        endpoint.failed(0.0, 0.0)
    assert endpoint.free(0.0) == 0
    endpoint.is_back()
    assert endpoint.free(0.0) == 1
    endpoint.failed(1.0, 1.0)
    assert endpoint.down
    endpoint.is_back()
    endpoint.running = 1
    endpoint.answered()
    endpoint.running = 0
    assert endpoint.free(0.0) > 1


def test_a_pause_is_as_long_as_was_asked_or_longer_each_time() -> None:
    """Who does not say how long is asked less and less often; many that were sent together say it once."""
    endpoint = Endpoint("http://x/v1", AdaptiveLimit(1, 8), least=1)
    endpoint.busy(0.0, 1.0, 5.0)
    assert (endpoint.free(5.9), endpoint.free(6.0) > 0) == (0, True)
    pauses = []
    now = 10.0
    for _ in range(12):
        for _ in range(50):
            endpoint.busy(now, now + 0.1, None)
        pauses.append(endpoint.paused_until - now)
        now = endpoint.paused_until + 1
    assert all(0.125 <= pause <= 31 for pause in pauses)
    assert pauses[-1] > 14
