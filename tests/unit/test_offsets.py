"""The offset tracker against a naive model, and the cases that once were or could be wrong."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.offsets import OffsetTracker


class TrackerMachine(RuleBasedStateMachine):
    """Every step is done on the tracker and on a plain map from offset to "is it answered"."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.answered: dict[int, bool] = {}
        self.committed: int | None = None

    @property
    def open(self) -> list[int]:
        return [offset for offset, answered in self.answered.items() if not answered]

    @property
    def position(self) -> int | None:
        if not self.answered:
            return None
        return min(self.open, default=max(self.answered) + 1)

    @rule(hole=st.integers(0, 3))
    def admit_next(self, hole: int) -> None:
        offset = max(self.answered, default=-1) + 1 + hole
        assert self.tracker.admit(offset)
        self.answered[offset] = False

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def complete_one(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.open))
        self.tracker.complete(offset)
        self.answered[offset] = True

    @rule(offset=st.integers(0, 60))
    def complete_what_is_not_open(self, offset: int) -> None:
        if offset not in self.open:
            with pytest.raises(ValueError, match=f"offset {offset} is not open"):
                self.tracker.complete(offset)

    @rule()
    def rewind(self) -> None:
        """A rebalance makes the consumer fetch again from the committed position."""
        for offset in sorted(self.answered):
            if offset >= (self.committed or 0):
                assert not self.tracker.admit(offset)

    @precondition(lambda self: self.position is not None)
    @rule()
    def commit(self) -> None:
        assert self.position is not None
        self.tracker.mark_committed(self.position)
        self.committed = self.position

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.tracker.open == len(self.open)
        assert self.tracker.position == self.position
        assert self.tracker.uncommitted == (self.position if self.position != self.committed else None)


TrackerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAgainstTheModel = TrackerMachine.TestCase


def test_position_is_none_before_anything_was_admitted() -> None:
    """A partition that has given nothing has nothing to commit, also if something was committed for it earlier."""
    tracker = OffsetTracker()
    assert tracker.position is None
    assert tracker.uncommitted is None
    tracker.mark_committed(5)
    assert tracker.uncommitted is None


def test_offset_zero_counts() -> None:
    """The first record of a topic has offset 0: its completion moves the position to 1."""
    tracker = OffsetTracker()
    assert tracker.admit(0)
    assert tracker.position == 0
    tracker.complete(0)
    assert tracker.position == 1


def test_position_is_the_lowest_incomplete_across_holes() -> None:
    """Whatever finished above an open record stays uncommitted; holes are stepped over once it closes."""
    tracker = OffsetTracker()
    for offset in (7, 9, 12):
        tracker.admit(offset)
    tracker.complete(12)
    tracker.complete(9)
    assert tracker.position == 7
    tracker.complete(7)
    assert tracker.position == 13


@pytest.mark.parametrize("offset", [5, 6, 7, 8, 10], ids=["below", "completed", "in a hole", "completed above", "new"])
def test_only_an_open_record_can_be_completed(offset: int) -> None:
    """A completion that belongs to no open record is an error in the caller and leaves the tracker as it was."""
    tracker = OffsetTracker()
    for admitted in (4, 6, 8, 9):
        tracker.admit(admitted)
    tracker.complete(6)
    tracker.complete(8)
    with pytest.raises(ValueError, match="is not open"):
        tracker.complete(offset)
    assert (tracker.open, tracker.position) == (2, 4)
    tracker.complete(4)
    tracker.complete(9)
    assert (tracker.open, tracker.position) == (0, 10)


def test_completing_the_last_open_record_twice_is_refused() -> None:
    """Also with nothing open any more, a second completion is an error and not a negative count."""
    tracker = OffsetTracker()
    tracker.admit(3)
    tracker.complete(3)
    with pytest.raises(ValueError, match="offset 3 is not open"):
        tracker.complete(3)
    assert tracker.open == 0
