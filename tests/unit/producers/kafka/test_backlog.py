"""What is not answered, counted from commits; and how fast it is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.offsets import Progress
from pelton.producers.kafka.backlog import SPEED_S, Speed, _counts


@given(st.data())
def test_it_counts_what_is_in_the_log_and_not_answered(data: st.DataObject) -> None:
    """Against a plain set of offsets, for any log and any commit that fits it."""
    start = data.draw(st.integers(0, 50), label="start")
    end = data.draw(st.integers(start, 100), label="end")
    horizon = data.draw(st.integers(0, end), label="horizon")
    unanswered = sorted(data.draw(st.sets(st.integers(0, max(0, horizon - 1)), max_size=horizon), label="open"))
    progress = Progress(unanswered[0] if unanswered else horizon, horizon, tuple(unanswered))
    waits = [offset for offset in range(start, end) if offset >= horizon or offset in unanswered]
    assert _counts(start, end, progress) == (len(waits), end - start - len(waits))


def test_a_group_without_a_commit_has_all_of_it_to_do() -> None:
    """So has one whose commit is of another log, which its workers read from the start."""
    assert _counts(10, 30, None) == (20, 0)
    assert _counts(0, 30, Progress(31, 31)) == (30, 0)


def test_the_speed_is_that_of_the_last_minute() -> None:
    """A long pause before it does not count; a topic made anew begins anew."""
    now = [0.0]
    speed = Speed(lambda: now[0])
    assert speed.note(0) is None
    for count in (100, 200):
        now[0] += 10
        assert speed.note(count) == pytest.approx(10)
    now[0] += 10 * SPEED_S
    assert speed.note(200) is None
    now[0] += 10
    assert speed.note(230) == pytest.approx(3)
    assert speed.note(5) is None
