"""Batch composition: full batches of like lengths, nobody forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import Selection
from pelton.workers.engine.padded.composition import compose

BUDGET = 4_000
requests = st.builds(
    QueuedRequest,
    st.none(),
    prompt_tokens=st.integers(1, 2_500),
    max_new_tokens=st.integers(1, 1_500),
    since=st.floats(0, 100),
)
lines = st.lists(requests, min_size=1, max_size=40)


def padded_cost(batch: list[QueuedRequest[None]]) -> int:
    return len(batch) * (max(r.prompt_tokens for r in batch) + max(r.max_new_tokens for r in batch))


def choose(
    waiting: list[QueuedRequest[None]], now: float = 0.0, max_batch_size: int = 8, max_wait_s: float = 1.0
) -> Selection:
    return compose(waiting, now, max_batch_tokens=BUDGET, max_batch_size=max_batch_size, max_wait_s=max_wait_s)


@given(waiting=lines, now=st.floats(0, 100), max_batch_size=st.integers(1, 10))
def test_a_batch_keeps_its_limits_and_takes_the_oldest(
    waiting: list[QueuedRequest[None]], now: float, max_batch_size: int
) -> None:
    """Budget and row limit hold with padding counted, indexes are unique and valid, the oldest request is in."""
    chosen = choose(waiting, now, max_batch_size).indexes
    if not chosen:
        return
    assert len(set(chosen)) == len(chosen) <= max_batch_size
    assert padded_cost([waiting[index] for index in chosen]) <= BUDGET
    assert min(request.since for request in waiting) in {waiting[index].since for index in chosen}


@given(waiting=lines, max_wait_s=st.floats(0, 10))
def test_waits_end(waiting: list[QueuedRequest[None]], max_wait_s: float) -> None:
    """An empty selection names a time, and at that time the batch goes."""
    first = choose(waiting, 0.0, max_wait_s=max_wait_s)
    if not first.indexes:
        assert first.retry_at == min(request.since for request in waiting) + max_wait_s
        assert choose(waiting, first.retry_at, max_wait_s=max_wait_s).indexes


@given(waiting=lines)
def test_everyone_gets_a_turn(waiting: list[QueuedRequest[None]]) -> None:
    """Batch after batch the line empties, each batch freeing the oldest: no request can be passed over for ever."""
    rounds = 0
    while waiting:
        chosen = set(choose(waiting, now=1_000.0).indexes)
        waiting = [request for index, request in enumerate(waiting) if index not in chosen]
        rounds += 1
    assert rounds <= 40


def test_a_short_request_is_not_padded_to_a_long_one() -> None:
    """When the budget forbids the pair, the older one goes alone, at once."""
    short, long = QueuedRequest(None, 50, 50, since=1.0), QueuedRequest(None, 2_000, 500, since=0.0)
    assert choose([short, long]) == Selection((1,))


def test_like_goes_with_like() -> None:
    """Of the requests around the oldest, longer or shorter, the one nearest in length joins first."""
    anchor = QueuedRequest(None, 1_000, 100, since=0.0)
    for near, far in ((900, 1_200), (1_100, 800)):
        waiting = [QueuedRequest(None, far, 100, since=1.0), anchor, QueuedRequest(None, near, 100, since=2.0)]
        assert set(choose(waiting, max_batch_size=2).indexes) == {1, 2}


def test_a_batch_with_room_waits_for_company_and_a_full_one_does_not() -> None:
    """The wait counts from the first request; the row limit or a spent budget ends it."""
    small = QueuedRequest(None, 100, 100, since=5.0)
    assert choose([small], now=5.5) == Selection((), retry_at=6.0)
    assert choose([small], now=6.0) == Selection((0,))
    assert choose([small] * 8, now=5.5).indexes == tuple(range(8))
    assert choose([QueuedRequest(None, 2_000, 500, since=5.0)], now=5.5) == Selection((0,))


def test_nothing_waiting() -> None:
    """An empty line selects nothing, until something arrives."""
    assert choose([]) == Selection(())


def test_an_impossible_request_is_an_error() -> None:
    """One that can never fit must have been refused before; here it would wait for ever."""
    with pytest.raises(ValueError, match="max_batch_tokens = 4000"):
        choose([QueuedRequest(None, 10, 10, 0.0), QueuedRequest(None, 4_000, 1, 0.0)])
