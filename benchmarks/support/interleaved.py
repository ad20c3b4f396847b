"""Comparing two pieces of work on a machine whose speed drifts: both under way at once, each running in its turns.

One run after the other tells little where neighbours change a machine's speed by a quarter within a minute. So each
contender is a tree of processes, all of it stopped while another one has its turn; what is slow for some seconds is
slow for all.
"""

import itertools
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Self

import psutil

TURN_S = 1.0
"""Long beside what a stop and cold caches after it cost; a neighbour may come and go within seconds."""
PREPARED_S = 600
LEFT_S = 60


class Contender:
    """A child process, and whatever it starts, that prepares, works when it is told to, and then ends.

    `work` is called there with its end of a connection: it calls `begin(connection)` when it is prepared, and
    `connection.send(...)` with what it has achieved when it is done, both as often as it is asked `again`, and returns
    after `connection.recv()`.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        """Return when it is prepared, and stopped. Raises `EOFError` when it fails, `TimeoutError`."""
        processes = multiprocessing.get_context("spawn")
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._name = work.__name__
        self._prepare()

    def again(self) -> None:
        """Let it prepare another time. Raises as the constructor does."""
        self._signal(psutil.Process.resume)
        self._prepare()

    @property
    def cpu_seconds(self) -> float:
        """What it has taken of all processors together, from its start."""
        times = [process.cpu_times() for process in self._tree]
        return float(sum(each.user + each.system for each in times))

    def run(self, seconds: float) -> bool:
        """Let it work for so long; True when it is done, maybe sooner."""
        self._signal(psutil.Process.resume)
        done = self._connection.poll(seconds)
        self.stop()
        return done

    def reports(self, seconds: float) -> list[tuple[float, Any]]:
        """Let it work for so long; what it sent meanwhile, each with the seconds until then."""
        self._signal(psutil.Process.resume)
        began, sent = time.perf_counter(), []
        while (left := began + seconds - time.perf_counter()) > 0:
            if self._connection.poll(left):
                sent.append((time.perf_counter() - began, self._connection.recv()))
        self.stop()
        return sent

    def achieved(self) -> int:
        """What it sent when it was done. Raises `EOFError` when it failed."""
        achieved: int = self._connection.recv()
        return achieved

    def stop(self) -> None:
        self._signal(psutil.Process.suspend)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end, if need be by force."""
        self._signal(psutil.Process.resume)
        with suppress(OSError):
            self._connection.send("leave")
        self._process.join(LEFT_S)
        if self._process.is_alive():
            self._process.kill()

    def _prepare(self) -> None:
        if not self._connection.poll(PREPARED_S):
            raise TimeoutError(f"{self._name} was not prepared within {PREPARED_S} s")
        self._connection.recv()
        root = psutil.Process(self._process.pid)
        self._tree = [root, *root.children(recursive=True)]
        self.stop()
        self._connection.send("begin")

    def _signal(self, send: Callable[[psutil.Process], None]) -> None:
        for process in self._tree:
            with suppress(psutil.NoSuchProcess):
                send(process)


def begin(connection: Connection) -> None:
    """Say that this contender is prepared, and wait for its first turn."""
    connection.send("prepared")
    connection.recv()


def unwind_on_sigterm() -> None:
    """Have SIGTERM end this process by `SystemExit`: contenders that are stopped would outlive it for ever."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def reports_in_turns(contenders: Mapping[str, Contender], ends: float) -> dict[str, list[tuple[float, Any]]]:
    """What each sends on its way until `ends` (`time.monotonic`) or until one sends None, as it is done.

    With the seconds of its own turns until then.
    """
    spent = dict.fromkeys(contenders, 0.0)
    told: dict[str, list[tuple[float, Any]]] = {name: [] for name in contenders}
    while time.monotonic() < ends and all(not some or some[-1][1] is not None for some in told.values()):
        for name, contender in contenders.items():
            began = time.perf_counter()
            told[name] += [(spent[name] + after_s, report) for after_s, report in contender.reports(TURN_S)]
            spent[name] += time.perf_counter() - began
    return {name: [each for each in some if each[1] is not None] for name, some in told.items()}


def rates_in_turns(contenders: Mapping[str, Contender]) -> dict[str, float]:
    """What each achieves per second of its own turns."""
    spent = dict.fromkeys(contenders, 0.0)
    achieved: dict[str, int] = {}
    for name in itertools.cycle(contenders):
        if name not in achieved:
            started = time.perf_counter()
            done = contenders[name].run(TURN_S)
            spent[name] += time.perf_counter() - started
            if done:
                achieved[name] = contenders[name].achieved()
        elif len(achieved) == len(contenders):
            break
    return {name: achieved[name] / spent[name] for name in contenders}
