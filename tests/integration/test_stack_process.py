"""Child processes: they say why they died, they stop, and they never outlive their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pelton.stack.errors import StackError
from pelton.stack.process import ChildProcess

SLEEP = ["sleep", "60"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


def runs(pid: int) -> bool:
    """A zombie that nobody buries does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


@pytest.fixture
def sleeper(log_file: Path) -> Iterator[ChildProcess]:
    child = ChildProcess("Sleeper", SLEEP, log_file=log_file, grace_s=5)
    yield child
    child.stop()


def test_the_pid_is_the_commands_own_and_its_session_is_not_ours(sleeper: ChildProcess) -> None:
    """What is killed or frozen by pid is the command itself, and the terminal's Ctrl-C does not reach it."""
    assert psutil.Process(sleeper.pid).cmdline() == SLEEP
    assert os.getsid(sleeper.pid) != os.getsid(0)


def test_settings_are_laid_over_our_environment(log_file: Path) -> None:
    """The command sees what is named and inherits the rest, in our own folder."""
    command = ["sh", "-c", 'echo "$PELTON_NAMED:$PATH:$PWD."; exec sleep 60']
    child = ChildProcess("Shell", command, log_file=log_file, grace_s=5, environment={"PELTON_NAMED": "yes"})
    child.wait_ready(lambda: log_file.read_text().endswith(".\n"), 10)
    child.stop()
    assert log_file.read_text() == f"yes:{os.environ['PATH']}:{Path.cwd()}.\n"


def test_stop_ends_it_and_may_be_repeated(sleeper: ChildProcess) -> None:
    """After `stop()` the process is gone; stopping again does nothing."""
    sleeper.stop()
    sleeper.stop()
    assert not runs(sleeper.pid)
    assert not sleeper.running


def test_stop_thaws_a_frozen_process(sleeper: ChildProcess) -> None:
    """A stopped process obeys SIGTERM at once, without waiting for the grace period."""
    os.kill(sleeper.pid, signal.SIGSTOP)
    began = time.monotonic()
    sleeper.stop()
    assert time.monotonic() - began < 4


def test_kill_is_seen_at_once(sleeper: ChildProcess) -> None:
    """After `kill()`, `check()` reports the status a signal leaves: 128 + 9."""
    sleeper.kill()
    with pytest.raises(StackError, match="Sleeper ended with status 137"):
        sleeper.check()


def test_a_deaf_process_is_killed_after_the_grace_period(log_file: Path) -> None:
    """SIGTERM is ignored; SIGKILL follows."""
    child = ChildProcess("Stubborn", STUBBORN, log_file=log_file, grace_s=0.2)
    child.wait_ready(lambda: "deaf" in log_file.read_text(), 10)
    child.stop()
    assert not runs(child.pid)


def test_an_early_end_quotes_the_end_of_its_log(log_file: Path) -> None:
    """Only what this run wrote is quoted, and waiting ends with the process, not with the deadline."""
    log_file.write_text("an earlier run\n")
    child = ChildProcess("Doomed", ["sh", "-c", "echo no space left; exit 3"], log_file=log_file, grace_s=1)
    with pytest.raises(StackError, match=r"Doomed ended with status 3; .*\n  no space left$") as raised:
        child.wait_ready(lambda: False, 60)
    assert "earlier" not in str(raised.value)
    child.stop()


def test_silence_ends_with_the_deadline(sleeper: ChildProcess) -> None:
    """A process that runs but never answers is reported with the time it was given."""
    with pytest.raises(StackError, match="Sleeper did not answer within 0 s"):
        sleeper.wait_ready(lambda: False, 0.1)


def test_a_command_that_is_not_there_is_an_error_at_once(log_file: Path) -> None:
    """The reason is quoted from the log."""
    with pytest.raises(StackError, match=r"Ghost cannot be started(.|\n)*No such file or directory: 'no-such-command'"):
        ChildProcess("Ghost", ["no-such-command"], log_file=log_file, grace_s=1)


PARENT = """
    import os, sys, time
    from pathlib import Path
    from pelton.stack.process import ChildProcess

    scratch = Path(sys.argv[1])
    child = ChildProcess("Orphan", ["sleep", "60"], log_file=scratch / "log", grace_s=5, scratch=scratch)
    heir = os.fork() if "fork" in sys.argv else 0
    if heir or "fork" not in sys.argv:
        print(child.pid, heir, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path, how: str) -> None:
    """SIGKILL leaves the parent no time for anything; the child goes all the same, and so does its scratch folder.

    Also where a forked copy of the parent lives on and holds its pipes open.
    """
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(scratch), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child, heir = map(int, parent.stdout.readline().split())
        try:
            assert runs(child)
            parent.kill()
            assert eventually(lambda: not runs(child))
            assert eventually(lambda: not scratch.exists())
        finally:
            if heir:
                os.kill(heir, signal.SIGKILL)
