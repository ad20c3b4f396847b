"""One server as a child process that cannot outlive us, SIGKILL included (see `tether`)."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pelton.stack import tether
from pelton.stack.errors import StackError

_TAIL_LINES = 20
_PROBE_INTERVAL_S = 0.05


class ChildProcess:
    """A running command with its output in a log file. An instance is one run: it is never started again.

    It has a session of its own, so the terminal's Ctrl-C reaches us and not it.
    """

    def __init__(  # noqa: PLR0913  # six facts about one process, four of them by name
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        grace_s: float,
        environment: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Start `command` in the current folder; `environment` is laid over this process's own.

        `scratch` is a folder to delete should this process vanish without stopping the command.

        Raises `StackError` when the command cannot be executed.
        """
        self.name = name
        self._log_file = log_file
        self._log_goes = scratch is not None and log_file.is_relative_to(scratch)
        options = [f"--grace={grace_s}", *([f"--remove={scratch}"] if scratch else [])]
        with log_file.open("ab") as output:
            self._log_start = output.tell()
            self._tether = subprocess.Popen(  # noqa: S603  # the command is our own
                [sys.executable, "-I", "-S", tether.__file__, *options, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._read_pid()

    @property
    def running(self) -> bool:
        return self._tether.poll() is None

    def check(self) -> None:
        """Raises `StackError`, with the end of the log, when the process has ended."""
        status = self._tether.poll()
        if status is not None:
            raise StackError(f"{self.name} ended with status {status}; {self._quote_log()}")

    def wait_ready(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Return once `answers()` is true. Raises `StackError` when the process ends first, or time is up."""
        deadline = time.monotonic() + timeout_s
        while not answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._tether.wait(_PROBE_INTERVAL_S)
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} did not answer within {timeout_s:.0f} s; {self._quote_log()}")

    def stop(self) -> int:
        """SIGTERM, then SIGKILL after the grace period; returns its exit status. Does nothing the second time."""
        self._tether.terminate()
        status = self._tether.wait()
        self._close_pipes()
        return status

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._tether.wait()
        self._close_pipes()

    def _read_pid(self) -> int:
        first_line = self._tether.stdout.readline() if self._tether.stdout else b""
        if not first_line:
            self._tether.wait()
            self._close_pipes()
            raise StackError(f"{self.name} cannot be started; {self._quote_log()}")
        return int(first_line)

    def _close_pipes(self) -> None:
        for pipe in (self._tether.stdin, self._tether.stdout):
            if pipe is not None:
                pipe.close()

    def _quote_log(self) -> str:
        with self._log_file.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        said = "it said last:" if self._log_goes else f"its log {self._log_file} ends:"
        return "\n  ".join([said, *lines[-_TAIL_LINES:]])
