"""The parent of workers, over real processes that behave as told: restarts, blame, readiness and leaving."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from pelton.pipeline.settings.worker import WorkerSettings
from pelton.pipeline.wire.records import Source
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.in_flight_journal import Entry
from pelton.workers.supervisor import replica as replica_module
from pelton.workers.supervisor import supervisor as pool_module
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.replica import Crash
from pelton.workers.supervisor.supervisor import Supervisor
from tests.waiting import until

LIMIT_S = 60

# A worker without Kafka. It notes each of its starts in the folder given and runs `first` in the pool's first life,
# `later` in all others; then it is ready. Told to drain it leaves, unless it has been told otherwise.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from pelton.pipeline.wire.records import Source
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.in_flight_journal import InFlightJournal
from pelton.workers.supervisor.parent_link import ParentLink, ChildState
folder, first, later, _, link_fd, journal_fd, identity = sys.argv[1:]
link, journal = ParentLink.inherited(int(link_fd)), InFlightJournal(int(journal_fd))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
index, lives = identity.split("-")[-2], len(list(Path(folder).iterdir()))
(Path(folder) / f"{os.getpid()}").write_text(identity)
exec(first if lives == 0 else later)
link.say(ChildState.READY)
while True:
    link.say(ChildState.ALIVE)
    time.sleep(0.1)
"""


class Parent:
    """A pool of such workers, and what it told of their crashes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replica_module, "RESTART_FIRST_S", 0.02)
        self.folder = folder
        self.starts = folder / "starts"
        self.starts.mkdir()
        self.ready_file = folder / "ready"
        self.crashes: list[Crash] = []
        self.settings = WorkerSettings(ready_file=self.ready_file, drain_timeout_s=5)

    def start(self, first: str = "", later: str = "", **settings: object) -> asyncio.Task[WorkerExit]:
        command = [sys.executable, "-c", WORKER, str(self.starts), first, later]
        pool = Supervisor(self.settings.model_copy(update=settings), command, self._on_crash)
        return asyncio.create_task(pool.run())

    async def _on_crash(self, crash: Crash) -> None:
        self.crashes.append(crash)

    def pids(self) -> list[int]:
        """Of all workers that were ever started, oldest first."""
        return [int(path.name) for path in sorted(self.starts.iterdir(), key=lambda path: path.stat().st_mtime_ns)]

    async def has_started(self, count: int) -> None:
        """Wait until there were as many workers."""
        await until(lambda: len(self.pids()) == count)


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parent:
    return Parent(tmp_path, monkeypatch)


def tell_ourselves(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def test_told_to_stop_it_drains_all_and_ends_well(parent):
    """SIGTERM to the parent reaches every worker; when all have left in good order the exit code says so."""
    running = parent.start(replicas=2)
    await until(parent.ready_file.exists)
    assert (parent.folder / "ready-0").exists()
    assert (parent.folder / "ready-1").exists()
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.DRAINED
    assert not any(psutil.pid_exists(pid) for pid in parent.pids())
    assert not list(parent.folder.glob("ready*"))
    assert parent.crashes == []


async def test_a_killed_worker_comes_back_and_what_it_ran_is_blamed(parent):
    """Exactly the requests in its engine at that moment, with what was known of them; its neighbour goes on."""
    in_engine = (
        "gone = journal.enter(Source('t', 0, 1), CrashHistory())\n"
        "journal.enter(Source('t', 0, 2), CrashHistory(1, 8, 0))\n"
        "journal.enter(Source('t', 1, 3), CrashHistory())\n"
        "journal.leave(gone)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    running = parent.start(in_engine)
    await until(lambda: len(parent.pids()) == 2 and parent.ready_file.exists())
    (crash,) = parent.crashes
    assert crash.in_engine == (
        Entry(Source("t", 0, 2), CrashHistory(1, 8, 0)),
        Entry(Source("t", 1, 3), CrashHistory()),
    )
    assert crash.identity == (parent.starts / str(parent.pids()[0])).read_text()
    assert not crash.expected
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.DRAINED


@pytest.mark.parametrize(
    ("end", "blamed"),
    [
        ("sys.exit(0)", False),
        ("sys.exit(1)", False),
        ("link.say(ChildState.READY); sys.exit(2)", False),
        ("os._exit(70)", True),
        ("os._exit(71)", True),
        ("os.kill(os.getpid(), signal.SIGSEGV)", True),
    ],
)
async def test_only_an_abnormal_end_blames(parent, end, blamed):
    """However a worker that was ready ends it is started again; a failure of Kafka is no request's fault."""
    running = parent.start(f"journal.enter(Source('t', 0, 1), CrashHistory()); {end}")
    await until(lambda: len(parent.pids()) == 2 and parent.ready_file.exists())
    assert len(parent.crashes) == blamed
    tell_ourselves(signal.SIGINT)
    assert await running == WorkerExit.DRAINED


async def test_restarts_wait_longer_and_longer_but_not_in_a_search_for_poison(parent, caplog):
    """A worker that keeps dying is not restarted in a tight loop, unless only suspects ran: that has an end."""
    dies = "os.kill(os.getpid(), 9)"
    for script, grows in ((dies, True), (f"journal.enter(Source('t', 0, 1), CrashHistory(1, 4, 0)); {dies}", False)):
        caplog.clear()
        ends = len(parent.pids()) + 5
        running = parent.start(script, script)
        await parent.has_started(ends)
        tell_ourselves(signal.SIGTERM)
        await running
        waits = [float(wait) for wait in re.findall(r"again in ([\d.]+) s", caplog.text)]
        assert (max(waits) >= 0.1) == grows  # 0.02 s doubled four times, at least half of it


async def test_a_worker_that_cannot_run_ends_the_pool(parent):
    """Bad settings or a missing model would be the same each time: exit code 2, the others drained, no restart."""
    cannot = """
if index == '1':
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.01)  # the other must have noted its start before it is told to leave
    sys.exit(2)
"""
    async with asyncio.timeout(LIMIT_S):
        assert await parent.start(cannot, cannot, replicas=2) == WorkerExit.UNUSABLE
    assert len(parent.pids()) == 2
    assert not any(psutil.pid_exists(pid) for pid in parent.pids())


async def test_told_twice_it_kills(parent):
    """A worker that will not drain is ended by the second signal, and the exit code tells; nobody is blamed."""
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); journal.enter(Source('t', 0, 1), CrashHistory())"
    running = parent.start(stubborn)
    await until(parent.ready_file.exists)
    tell_ourselves(signal.SIGTERM)
    await asyncio.wait([running], timeout=0.3)
    assert not running.done()
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.FAILED
    assert parent.crashes == []


async def test_a_drain_has_an_end(parent, monkeypatch):
    """A worker that has not left long after its drain deadline is killed."""
    monkeypatch.setattr(pool_module, "DRAIN_MARGIN_S", 0.1)
    running = parent.start("signal.signal(signal.SIGTERM, signal.SIG_IGN)", drain_timeout_s=0.1)
    await until(parent.ready_file.exists)
    started = time.monotonic()
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.FAILED
    assert time.monotonic() - started < 5


async def test_a_silent_worker_is_killed_and_blamed(parent, monkeypatch):
    """One that is frozen, or stuck behind a call that keeps Python's lock, cannot end itself: its parent does."""
    monkeypatch.setattr(replica_module, "SILENCE_MARGIN_S", 0.1)
    monkeypatch.setattr(replica_module, "BEAT_S", 0.2)
    frozen = "journal.enter(Source('t', 0, 1), CrashHistory()); os.kill(os.getpid(), signal.SIGSTOP)"
    running = parent.start(frozen, stall_timeout_s=0.5)
    await until(lambda: len(parent.pids()) == 2 and parent.ready_file.exists())
    assert [entry.source.offset for entry in parent.crashes[0].in_engine] == [1]
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.DRAINED


async def test_what_a_worker_leaves_behind_does_not_hold_its_parent_up(parent):
    """A forked process that still has the line open is no reason to wait for it."""
    forked = "os.fork() or time.sleep(3) or os._exit(0); time.sleep(0.1); os.kill(os.getpid(), 9)"
    running = parent.start(forked)
    await until(lambda: len(parent.pids()) == 2 and parent.ready_file.exists())
    tell_ourselves(signal.SIGTERM)
    assert await running == WorkerExit.DRAINED


async def test_each_worker_has_its_own_gpu_and_metrics_port(parent):
    """Worker i gets the i-th visible GPU and the port + i."""
    note = "(Path(folder).parent / f'env-{os.environ[\"PELTON_WORKER__METRICS_PORT\"]}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"  # noqa: E501  # one line of the script
    settings = parent.settings.model_copy(update={"replicas": 2, "metrics_port": 9100})
    command = [sys.executable, "-c", WORKER, str(parent.starts), note, note]
    running = asyncio.create_task(Supervisor(settings, command, parent._on_crash, gpus=["GPU-a", "GPU-b"]).run())
    await until(lambda: len(list(parent.folder.glob("env-*"))) == 2)
    tell_ourselves(signal.SIGTERM)
    await running
    assert {path.name: path.read_text() for path in parent.folder.glob("env-*")} == {
        "env-9100": "GPU-a",
        "env-9101": "GPU-b",
    }
