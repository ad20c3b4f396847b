"""The breaker: opens after failures in a row, and only a probe lets anything pass again."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.replies.circuit_breaker import THRESHOLD, CircuitBreaker, State


def test_failures_in_a_row_open_it():
    """Fewer do not, and a success in between starts the count again."""
    breaker = CircuitBreaker("it")
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            breaker.failed("why")
        assert breaker.passes
        breaker.succeeded()
    for _ in range(THRESHOLD):
        breaker.failed("why")
    assert breaker.state is State.OPEN


def test_a_success_from_before_does_not_close_it():
    """An answer that was under way when it opened says nothing about now."""
    breaker = CircuitBreaker("it", State.OPEN)
    breaker.succeeded()
    assert not breaker.passes


def test_after_a_probe_one_outcome_decides():
    """One failure opens it again, one success closes it."""
    breaker = CircuitBreaker("it", State.OPEN)
    breaker.heal()
    assert breaker.passes
    breaker.failed("why")
    assert _state(breaker) is State.OPEN
    breaker.heal()
    breaker.succeeded()
    assert _state(breaker) is State.CLOSED
    breaker.failed("why")
    assert breaker.passes


def _state(breaker: CircuitBreaker) -> State:
    """Read anew: mypy takes an attribute for what it was compared with before."""
    return breaker.state


def test_a_probe_of_a_closed_one_changes_nothing():
    """Failures seen so far still count."""
    breaker = CircuitBreaker("it")
    for _ in range(THRESHOLD - 1):
        breaker.failed("why")
    breaker.heal()
    breaker.failed("why")
    assert not breaker.passes


class Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@given(st.lists(st.sampled_from(["succeeded", "failed", "heal"]), max_size=60))
def test_the_log_tells_of_it_once(events):
    """A warning and its end come in turn, however often it opens in between; and it never passes while open."""
    records: list[logging.LogRecord] = []
    handler = Collector(records)
    logger = logging.getLogger("pelton.cache.replies.circuit_breaker")
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    breaker = CircuitBreaker("it")
    try:
        for event in events:
            opened = not breaker.passes
            getattr(breaker, event)(*(["why"] if event == "failed" else []))
            assert not (opened and event != "heal" and breaker.passes)
    finally:
        logger.removeHandler(handler)
        logger.level = level
    levels = [record.levelno for record in records]
    assert levels == [logging.WARNING, logging.INFO] * (len(levels) // 2) + [logging.WARNING] * (len(levels) % 2)
