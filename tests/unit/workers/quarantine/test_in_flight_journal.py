"""The journal of what is in the engine: exact at every moment, and readable by whoever holds the file."""

import contextlib
import subprocess
import sys

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire.records import Source
from pelton.workers.quarantine import in_flight_journal as journal_module
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.in_flight_journal import Entry, InFlightJournal

names = st.text(st.sampled_from("abc.-_0"), min_size=1, max_size=249)
sources = st.builds(Source, names, st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
blames = st.builds(CrashHistory, *[st.integers(0, 2**32 - 1)] * 3)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.builds(Entry, sources, blames), st.booleans()), max_size=60))
def test_it_holds_what_has_joined_and_not_left(history: list[tuple[Entry, bool]]) -> None:
    """Whatever the order of joining and leaving, and with slots used again."""
    journal = InFlightJournal()
    inside: list[tuple[int | None, Entry]] = []
    for entry, oldest_leaves in history:
        inside.append((journal.enter(entry.source, entry.blame), entry))
        if oldest_leaves:
            slot, _ = inside.pop(0)
            journal.leave(slot)
        assert sorted(map(repr, journal.entries())) == sorted(repr(entry) for _, entry in inside)
    journal.close()


def test_it_survives_the_sigkill_of_its_writer() -> None:
    """What a killed process had in its engine is read by the parent that made the journal."""
    script = (
        "import os, signal, sys\n"
        "from pelton.pipeline.wire.records import Source\n"
        "from pelton.workers.quarantine.crash_history import CrashHistory\n"
        "from pelton.workers.quarantine.in_flight_journal import InFlightJournal\n"
        "journal = InFlightJournal(int(sys.argv[1]))\n"
        "left = journal.enter(Source('t', 0, 1), CrashHistory())\n"
        "journal.enter(Source('t', 3, 2), CrashHistory(2, 5, 0))\n"
        "journal.leave(left)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with contextlib.closing(InFlightJournal.create()) as journal:
        fd = journal.fileno()
        subprocess.run([sys.executable, "-c", script, str(fd)], pass_fds=[fd], check=False)
        assert journal.entries() == [Entry(Source("t", 3, 2), CrashHistory(2, 5, 0))]


def test_beyond_its_capacity_requests_run_unwatched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More than it holds is no reason to stop work; the log says so, and room that comes free is used again."""
    monkeypatch.setattr(journal_module, "CAPACITY", 1)
    journal = InFlightJournal()
    first = journal.enter(Source("t", 0, 0), CrashHistory())
    assert journal.enter(Source("t", 0, 1), CrashHistory()) is None
    assert "t-0-1 is not watched" in caplog.text
    journal.leave(None)
    journal.leave(first)
    journal.enter(Source("t", 0, 2), CrashHistory())
    assert [entry.source.offset for entry in journal.entries()] == [2]


def test_closing_gives_the_file_back() -> None:
    """A parent that starts workers for years must not run out of descriptors."""
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(3):
        InFlightJournal.create().close()
    assert process.num_fds() == before
