"""The watchdog ends the process it lives in: an engine that is stuck, a parent that is gone. So it gets a process."""

import contextlib
import socket
import subprocess
import sys
import time

import pytest

from pelton.workers.inference.step_clock import StepClock
from pelton.workers.supervisor.exit_codes import WorkerExit, describe_exit, is_crash
from pelton.workers.supervisor.parent_link import ChildState, ParentLink

SCRIPT = """
import logging, sys, time
from pelton.workers.supervisor import watchdog
from pelton.workers.supervisor.parent_link import ParentLink
logging.basicConfig(format="%(message)s")
watchdog.BEAT_S, watchdog.ORPHAN_GRACE_S = 0.05, 0.2
steps = watchdog.StepClock()
link = ParentLink.inherited(int(sys.argv[1]))
watchdog.Watchdog(link, steps, 0.3, on_orphaned=lambda: print("told to drain", flush=True)).start()
def run_the_engine():
    with steps:
        time.sleep(60)
"""
LIMIT_S = 20


def run(script: str, *, orphaned: bool = False) -> tuple[subprocess.CompletedProcess[str], bytes]:
    """A process with a watchdog; returns it, ended, and what it told its parent."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT + script, str(fd)],
            pass_fds=[fd],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        if orphaned:
            ours.recv(1)  # it is up: it has told that it is alive
            ours.shutdown(socket.SHUT_RDWR)
            ours.close()
        out, err = process.communicate(timeout=LIMIT_S)
        words = b"" if orphaned else b"".join(iter(lambda: ours.recv(4096), b""))
    return subprocess.CompletedProcess([], process.returncode, out, err), words


def test_a_stuck_engine_ends_the_process() -> None:
    """With its own exit code, what to do in the log, and the place where it hangs."""
    ended, words = run("run_the_engine()")
    assert ended.returncode == WorkerExit.STALLED
    assert "raise worker.stall_timeout_s" in ended.stderr
    assert "in run_the_engine" in ended.stderr
    assert set(words.split()) == {b"alive"}


def test_an_engine_between_steps_is_left_alone() -> None:
    """However long the process lives, and however many steps it makes, each of them short."""
    ended, _ = run("for _ in range(12):\n    with steps: time.sleep(0.05)\nprint('through')")
    assert (ended.returncode, ended.stdout) == (0, "through\n")


def test_an_orphan_is_told_to_drain_and_then_ended() -> None:
    """A worker whose parent is gone gets a moment to leave in good order, and no more."""
    ended, _ = run("time.sleep(60)", orphaned=True)
    assert ended.returncode == WorkerExit.ORPHANED
    assert ended.stdout == "told to drain\n"
    assert "parent process is gone" in ended.stderr


def test_the_step_clock_counts_from_the_step_s_begin() -> None:
    """Zero between steps; each step starts anew, one that raises included."""
    clock = StepClock()
    assert clock.seconds == 0
    before = time.monotonic()
    with contextlib.suppress(ZeroDivisionError), clock:
        assert 0 <= clock.seconds <= time.monotonic() - before
        1 / 0  # noqa: B018  # a step that fails
    assert clock.seconds == 0


def test_a_parent_that_does_not_listen_holds_nobody_up() -> None:
    """Words that find no room are dropped; so are those to a parent that is gone."""
    ours, theirs = socket.socketpair()
    link = ParentLink(theirs)
    for _ in range(100_000):
        link.say(ChildState.ALIVE)
    assert not link.wait_parent_gone(0)
    ours.close()
    assert link.wait_parent_gone(0)
    link.say(ChildState.READY)
    link.close()


@pytest.mark.parametrize(
    ("code", "crash", "words"),
    [
        (0, False, "ended with status 0"),
        (1, False, "ended with status 1"),
        (2, False, "ended with status 2"),
        (-9, True, "was ended by SIGKILL"),
        (-11, True, "was ended by SIGSEGV"),
        (70, True, "ended with status 70 (its engine failed)"),
        (71, True, "ended with status 71 (its engine was stuck)"),
        (134, True, "ended with status 134"),
    ],
)
def test_only_an_abnormal_end_is_a_crash(code: int, crash: bool, words: str) -> None:
    """What was in the engine is blamed for signals and unknown codes; never for a drain or for Kafka."""
    assert is_crash(code) == crash
    assert describe_exit(code) == words
