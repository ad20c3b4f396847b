"""The offset tracker against a naive model, what a commit says of it, and what a successor makes of that."""

import base64
import random
import time
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pelton.pipeline.offsets import (
    ADMIT_LIMIT,
    METADATA_LIMIT,
    BadMetadata,
    OffsetTracker,
    Progress,
    _varint,
    topic_id_text,
)
from tests.dice import DICE


class TrackerMachine(RuleBasedStateMachine):
    """A log with holes, read by one tracker after the other; a plain set says what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.log: list[int] = []
        self.fetched = 0
        self.open: set[int] = set()
        self.committed: Progress | None = None
        self.answered: set[int] = set()

    @rule(hole=st.integers(0, 200))
    def produce(self, hole: int) -> None:
        self.log.append((self.log[-1] if self.log else -1) + 1 + hole)

    @precondition(lambda self: self.fetched < len(self.log))
    @rule()
    def fetch(self) -> None:
        """A record is wanted exactly when it is neither open nor answered."""
        offset = self.log[self.fetched]
        self.fetched += 1
        assert self.tracker.admits(offset)
        wanted = offset not in self.open and offset not in self.answered
        assert self.tracker.admit(offset) == wanted
        if wanted:
            self.open.add(offset)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        done = data.draw(st.sets(st.sampled_from(sorted(self.open)), min_size=1))
        self.committed = self.tracker.after(done)
        self.tracker.complete(done)
        self.open -= done
        self.answered |= done

    @rule()
    def rewind(self) -> None:
        """A rebalance makes the consumer fetch again from the committed position."""
        start = self.committed.position if self.committed else 0
        self.fetched = sum(offset < start for offset in self.log)

    @rule()
    def succeed(self) -> None:
        """Another worker takes over from what the commit says, through the text that Kafka keeps."""
        if self.committed is None:
            self.tracker = OffsetTracker()
        else:
            text = self.committed.metadata()
            assert Progress.decode(self.committed.position, text) == self.committed
            self.tracker = OffsetTracker(self.committed)
        self.open = set()
        self.rewind()

    @rule()
    def reconcile(self) -> None:
        """What the broker says is what was committed here: nothing changes."""
        if self.committed is not None:
            self.tracker.reconcile(self.committed)
            self.rewind()

    @rule(offset=st.integers(0, 5_000))
    def complete_what_is_not_open(self, offset: int) -> None:
        if offset not in self.open:
            with pytest.raises(ValueError, match=f"offset {offset} is not open"):
                self.tracker.complete([offset])

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.tracker.open == len(self.open)
        assert all(self.tracker.is_open(offset) for offset in self.open)
        progress = self.tracker.after(())
        assert not any(progress.answered(offset) for offset in self.open)
        assert all(progress.answered(offset) for offset in self.answered if offset < progress.horizon)


TrackerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAgainstTheModel = TrackerMachine.TestCase


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**16), max_size=4_000), DICE)
def test_metadata_never_passes_the_limit(start: int, holes: list[int], rng: random.Random) -> None:
    """Whatever is admitted while there is room, in whatever order it is answered: the metadata fits and is exact."""
    tracker = OffsetTracker(Progress(start, start))
    admitted, offset = [], start
    for hole in holes:
        if not tracker.admits(offset + hole):
            break
        offset += hole
        tracker.admit(offset)
        admitted.append(offset)
        offset += 1
    rng.shuffle(admitted)
    while admitted:
        progress = tracker.after(())
        text = progress.metadata()
        assert len(text) <= ADMIT_LIMIT
        assert Progress.decode(progress.position, text) == progress
        some = {admitted.pop() for _ in range(min(len(admitted), 1 + len(admitted) // 3))}
        tracker.complete(some)
    assert tracker.after(()).metadata() == ""


@given(st.integers(0, 2**40), st.sets(st.integers(1, 500), max_size=30), st.binary(min_size=16, max_size=16))
def test_a_commit_says_of_which_topic_it_is(position: int, steps: set[int], raw: bytes) -> None:
    """Beside what is open, and where nothing is; commits of versions that did not know it are read as ever."""
    left = (position, *(position + step for step in sorted(steps))) if steps else ()
    progress = Progress(position, left[-1] + 1 if left else position, left, topic_id_text(raw))
    assert Progress.decode(position, progress.metadata()) == progress
    unknown = replace(progress, topic_id="")
    assert Progress.decode(position, unknown.metadata()) == unknown
    tracker = OffsetTracker(progress)
    assert tracker.after(()).topic_id == topic_id_text(raw)


def test_thousands_in_flight_press_back_instead_of_breaking_the_limit() -> None:
    """Of 5,000 records over a wide span as many are admitted as a commit can tell of; answers make room."""
    tracker = OffsetTracker()
    admitted = []
    for offset in range(0, 5_000 * 40, 40):
        if not tracker.admits(offset):
            break
        tracker.admit(offset)
        admitted.append(offset)
    assert 2_000 < len(admitted) < 5_000
    assert tracker.full
    assert len(tracker.after(()).metadata()) < METADATA_LIMIT
    with pytest.raises(ValueError, match="no room"):
        tracker.admit(5_000 * 40)
    tracker.complete(admitted[1::2])
    assert len(tracker.after(()).metadata()) < METADATA_LIMIT
    tracker.complete(admitted[0::2])
    assert not tracker.full


def test_a_few_hundred_in_flight_take_little_room() -> None:
    """256 open records over a span of 19,600 offsets are told in a few hundred characters."""
    tracker = OffsetTracker()
    for offset in range(19_600):
        assert tracker.admits(offset)
        tracker.admit(offset)
        if offset % 77:
            tracker.complete([offset])
    assert tracker.open == 255
    assert len(tracker.after(()).metadata()) < 400


def test_what_was_left_open_and_is_gone_from_the_log_is_let_go() -> None:
    """A record that retention removed before a successor could fetch it does not hold the position for ever."""
    tracker = OffsetTracker(Progress(10, 20, (10, 15, 17)))
    assert not tracker.admit(12)
    assert tracker.admit(15)
    assert tracker.after({15}).position == 17
    assert tracker.open == 1


def test_reconciling_learns_what_others_have_answered() -> None:
    """After another worker had the partition for a while, what it answered is closed and what it left open is owed."""
    tracker = OffsetTracker()
    for offset in range(6):
        tracker.admit(offset)
    tracker.complete([0])
    tracker.reconcile(Progress(2, 10, (2, 5, 8)))
    assert [offset for offset in range(12) if tracker.is_open(offset)] == [2, 5]
    assert not tracker.admit(7)
    assert tracker.admit(8)
    assert tracker.admit(10)
    with pytest.raises(ValueError, match="not open"):
        tracker.complete([3])
    assert tracker.after({2, 5, 8}) == Progress(10, 11, (10,))


@given(st.integers(0, 2**40), st.text(min_size=1, max_size=60))
def test_foreign_metadata_is_refused_or_read_but_never_trusted_blindly(position: int, text: str) -> None:
    """Metadata of other tools raises BadMetadata; it never ends in another error."""
    try:
        progress = Progress.decode(position, text)
    except BadMetadata:
        return
    assert progress.position == position


@pytest.mark.parametrize("packed", [b"\x80" * 3_000_000, b"\x00" * 3_000_000, b"\x01" * 3_000_000])
def test_metadata_that_claims_megabytes_costs_nothing(packed: bytes) -> None:
    """Whoever may commit for the group could otherwise stop the partition's owner for hours."""
    metadata = "z" + base64.b64encode(zlib.compress(packed, 9)).decode()
    assert len(metadata) < 2 * METADATA_LIMIT
    began = time.perf_counter()
    with pytest.raises(BadMetadata):
        Progress.decode(5, metadata)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("numbers", [(0,), (3, 0), (3, 3), (3, 1, 2), (2**63,)])
def test_offsets_that_do_not_rise_are_no_progress(numbers: tuple[int, ...]) -> None:
    """An open offset beyond the horizon, or twice, is nothing that a worker commits."""
    packed = b"".join(map(_varint, numbers))
    with pytest.raises(BadMetadata):
        Progress.decode(5, "p" + base64.b64encode(packed).decode())
