"""One worker process as its parent sees it: started, listened to, and started again when it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pelton.pipeline.backoff import Backoff
from pelton.workers.quarantine.in_flight_journal import Entry, InFlightJournal
from pelton.workers.supervisor.exit_codes import WorkerExit, describe_exit, is_crash
from pelton.workers.supervisor.identity import new_identity
from pelton.workers.supervisor.parent_link import ChildState
from pelton.workers.supervisor.watchdog import BEAT_S

log = logging.getLogger(__name__)

RESTART_FIRST_S = 0.5
RESTART_MAX_S = 30.0
HEALTHY_S = 60.0
"""A worker that was ready this long has had its troubles behind it: the next restart is quick again."""
LAST_WORDS_S = 1.0
"""How long to listen to a worker that has ended, should a process that it left behind hold the line open."""
SILENCE_MARGIN_S = 30.0
"""Added to the watchdog's own limit: by then a worker that can still run Python has ended itself."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a worker process: the options that make it a pool's worker are appended to `command`."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stall_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Crash:
    """An end that some of the requests in the engine may have caused."""

    identity: str
    in_engine: tuple[Entry, ...]

    @property
    def expected(self) -> bool:
        """Whether only suspects were running: a step in finding the poison, not a fault of the worker."""
        return bool(self.in_engine) and all(entry.blame.crashes for entry in self.in_engine)


class Unusable(Exception):
    """A worker cannot run at all, and has logged why."""


class Replica:
    """Keeps one worker process running until it is stopped."""

    def __init__(
        self,
        index: int,
        launch: Launch,
        on_change: Callable[[], None],
        on_crash: Callable[[Crash], Awaitable[None]],
    ) -> None:
        self._index = index
        self._launch = launch
        self._on_change = on_change
        self._on_crash = on_crash
        self._process: asyncio.subprocess.Process | None = None
        self._aftermath: asyncio.Future[None] | None = None
        self._stopping = asyncio.Event()
        self._killed = False
        self._ready_since: float | None = None
        self._ever_ready = False
        self._backoff = Backoff(RESTART_FIRST_S, RESTART_MAX_S)
        self.orderly = True
        """Whether what ended after `stop` did so in good order."""

    def __str__(self) -> str:
        return f"worker {self._index}"

    @property
    def ready(self) -> bool:
        return self._ready_since is not None

    def stop(self) -> None:
        """Let the worker drain, and start none any more."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once."""
        self._stopping.set()
        self._killed = True
        self._signal(signal.SIGKILL)
        if self._aftermath is not None:
            self._aftermath.cancel()

    async def keep(self) -> None:
        """Start the worker, and start it again whenever it ends, until `stop`. Raises `Unusable`."""
        while not self._stopping.is_set():
            identity = new_identity(self._index)
            with contextlib.closing(InFlightJournal.create()) as journal:
                code = await self._run(identity, journal)
                crash = Crash(identity, tuple(journal.entries()))
            if code == WorkerExit.UNUSABLE and not self._ever_ready:
                raise Unusable(f"{self} cannot run")
            # SIGTERM ends a process by itself while its handlers are not yet in place.
            if code != WorkerExit.DRAINED and not (self._stopping.is_set() and code == -signal.SIGTERM):
                await self._after(code, crash)
            if not self._stopping.is_set():
                await self._pause(code, crash)

    async def _after(self, code: int, crash: Crash) -> None:
        """Deal with an end that was not an orderly one."""
        self.orderly = self.orderly and not self._stopping.is_set()
        if not is_crash(code) or self._killed:
            return
        log.error("%s %s%s", self, describe_exit(code), f"; {_suspicion(crash)}" if crash.in_engine else "")
        self._aftermath = asyncio.ensure_future(self._on_crash(crash))
        await asyncio.wait([self._aftermath])
        if not self._aftermath.cancelled():
            self._aftermath.result()

    async def _pause(self, code: int, crash: Crash) -> None:
        wait_s = 0.0 if is_crash(code) and crash.expected else self._backoff.next_s()
        hint = ", as the kernel does where memory is short" if code == -signal.SIGKILL else ""
        log.warning("%s %s%s: starting it again in %.1f s", self, describe_exit(code), hint, wait_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _run(self, identity: str, journal: InFlightJournal) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), journal.fileno())
            self._process = process = await asyncio.create_subprocess_exec(
                *self._launch.command,
                *("--child", *map(str, fds), identity),
                pass_fds=fds,
                env={**os.environ, **self._launch.environment},
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is the parent's to pass on, once
            )
        log.info("%s is process %d", self, process.pid)
        if self._stopping.is_set():  # asked for while it was being started
            self._signal(signal.SIGTERM)
        listening = asyncio.create_task(self._listen(ours))
        code = await process.wait()
        self._process = None
        await asyncio.wait([listening], timeout=LAST_WORDS_S)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        self._set_ready(ready=False)
        return code

    async def _listen(self, link: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=link)
        silence = _Silence(self._launch.stall_timeout_s + SILENCE_MARGIN_S, self._end_silent)
        timing = asyncio.create_task(silence.run())
        try:
            while line := await reader.readline():
                silence.broken()
                word = line.decode().strip()
                if word in (ChildState.READY, ChildState.NOT_READY):
                    self._set_ready(ready=word == ChildState.READY)
        finally:
            timing.cancel()
            writer.close()

    def _end_silent(self) -> None:
        log.error("%s has given no sign of life for a long time: ending it", self)
        self._signal(signal.SIGKILL)

    def _set_ready(self, *, ready: bool) -> None:
        if ready == self.ready:
            return
        now = time.monotonic()
        if self._ready_since is not None and now - self._ready_since > HEALTHY_S:
            self._backoff.reset()
        self._ready_since = now if ready else None
        self._ever_ready = self._ever_ready or ready
        log.info("%s is %s", self, "ready" if ready else "no longer ready")
        self._on_change()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _suspicion(crash: Crash) -> str:
    count = len(crash.in_engine)
    if count == 1:
        return f"the only request in its engine, {crash.in_engine[0].source}, is suspected and runs apart from others"
    return f"the {count} requests in its engine are suspects now and run apart from others"


class _Silence:
    """Counts beats rather than seconds: a parent that was frozen must not take its own sleep for the worker's."""

    def __init__(self, most_s: float, on_too_long: Callable[[], None]) -> None:
        self._most_s = most_s
        self._on_too_long = on_too_long
        self._seconds = 0.0

    def broken(self) -> None:
        self._seconds = 0.0

    async def run(self) -> None:
        while self._seconds < self._most_s:
            await asyncio.sleep(BEAT_S)
            self._seconds += BEAT_S
        self._on_too_long()
