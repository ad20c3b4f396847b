"""The workers as processes, kept alive as a supervisor would: one that died is started again after a short back-off."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.stack.errors import StackError
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack

log = logging.getLogger(__name__)

BACK_OFF_S = 1.0
LOOK_S = 0.1
GRACE_S = 60.0
"""More than a worker takes to drain."""
READY_S = 150.0

ENGINE = {
    # About a second and a half for an answer: every worker has dozens of requests half done at any time.
    "TTFT_MS": "20",
    "ITL_MS": "30",
    "MEAN_OUTPUT_TOKENS": "48",
    "MAX_OUTPUT_TOKENS": "160",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a worker; logs and ready files lie in `folder`."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is set no worker is started."""


class Berth:
    """The place of one worker, which any number of processes fill one after the other."""

    def __init__(self, name: str, launch: Launch) -> None:
        self.name = name
        self.wanted = True
        self.starts = 0
        self._launch = launch
        self._ready = launch.folder / f"{name}.ready"
        self._process: ChildProcess | None = None
        self._orphans: list[psutil.Process] = []
        self._not_before = 0.0
        self._lock = asyncio.Lock()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def _is_empty(self) -> bool:
        """Whether a process is wanted, there is none, and the last was not started a moment ago."""
        held = self._launch.held.is_set()
        return self.wanted and not held and not self.running and time.monotonic() >= self._not_before

    async def keep_alive(self) -> None:
        """Start a process where one is missing."""
        if not self._is_empty():
            return
        async with self._lock:
            if not self._is_empty():  # it was started meanwhile
                return
            if self._process is not None:
                status = await asyncio.to_thread(self._process.stop)
                log.info("%s ended with status %d", self.name, status)
            self._process = await asyncio.to_thread(self._start)
            log.info("%s is process %d now", self.name, self._process.pid)
            self._not_before = time.monotonic() + BACK_OFF_S
            self.starts += 1

    async def wait_ready(self) -> None:
        """Raises `StackError`, with the end of its log, for a worker that does not get ready."""
        if self._process is not None:
            await asyncio.to_thread(self._process.wait_ready, self._ready.exists, READY_S)

    async def drain(self) -> None:
        """SIGTERM; returns when the process has ended."""
        async with self._lock:
            if self._process is not None:
                status = await asyncio.to_thread(self._process.stop)
                log.info("%s drained with status %d", self.name, status)

    async def kill(self) -> None:
        """SIGKILL; returns when the worker has ended."""
        self.send(signal.SIGKILL)
        _send(self._orphans, signal.SIGKILL)
        if self._process is not None:
            await asyncio.to_thread(self._process.kill)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker with all its processes, parents first."""
        _send(self._processes(), number)

    def send_all(self, number: signal.Signals) -> None:
        """Send it to the processes that were left behind, too."""
        self.send(number)
        _send(self._orphans, number)

    def crash(self) -> None:
        """SIGKILL the process that runs the engine; a parent of it lives on."""
        _send(self._processes()[-1:], signal.SIGKILL)

    def orphan(self) -> None:
        """SIGKILL the parent, where there is one, and leave the process that runs the engine alone."""
        processes = self._processes()
        self._orphans += processes[1:]
        _send(processes[:1], signal.SIGKILL)

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._process is not None and self._process.running:
                first = psutil.Process(self._process.pid)
                return [first, *first.children(recursive=True)]
        return []

    def _start(self) -> ChildProcess:
        launch = self._launch
        return ChildProcess(
            self.name,
            launch.command,
            log_file=launch.folder / f"{self.name}.log",
            grace_s=GRACE_S,
            environment={**launch.environment, "PELTON_WORKER__READY_FILE": str(self._ready)},
        )


def _send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Fleet:
    """`size` workers, and guests that come and go."""

    def __init__(self, size: int, launch: Launch) -> None:
        self._launch = launch
        self.workers = [Berth(f"worker-{number}", launch) for number in range(size)]
        self.guests: list[Berth] = []

    @property
    def everyone(self) -> list[Berth]:
        return [*self.workers, *self.guests]

    async def start(self) -> None:
        """Start all and wait until they are ready. Raises `StackError`."""
        await asyncio.gather(*(worker.keep_alive() for worker in self.workers))
        await asyncio.gather(*(worker.wait_ready() for worker in self.workers))

    async def supervise(self) -> None:
        """Start again whatever died; runs until cancelled."""
        while True:
            for worker in self.everyone:
                try:
                    await worker.keep_alive()
                except StackError as error:
                    log.warning("%s", error)
            await asyncio.sleep(LOOK_S)

    async def invite(self) -> Berth:
        """One worker more."""
        guest = Berth(f"guest-{len(self.guests)}", self._launch)
        self.guests.append(guest)
        await guest.keep_alive()
        return guest

    @property
    def starts(self) -> int:
        """How many processes there have been."""
        return sum(worker.starts for worker in self.everyone)

    async def kill(self) -> None:
        """SIGKILL whatever still runs."""
        for worker in self.everyone:
            worker.wanted = False
            await worker.kill()

    async def hold(self) -> None:
        """Drain all, and start none until `let_go`."""
        self._launch.held.set()
        await asyncio.gather(*(worker.drain() for worker in self.everyone))

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Freeze all workers that run now."""
        for worker in self.everyone:
            worker.send_all(signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in self.everyone:
                worker.send_all(signal.SIGCONT)

    def let_go(self) -> None:
        self._launch.held.clear()

    async def stop(self) -> None:
        """Drain all at once."""
        for worker in self.everyone:
            worker.wanted = False
        await asyncio.gather(*(worker.drain() for worker in self.everyone))


def worker_settings(stack: LocalStack, kafka: KafkaSettings) -> dict[str, str]:
    """The settings of the workers but for their engine. The rig's own environment may add to them."""
    return {
        **stack.env,
        "PELTON_KAFKA__GROUP_ID": kafka.group_id,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__INTERACTIVE_TOPICS": orjson.dumps(kafka.interactive_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "PELTON_KAFKA__REPLY_TOPICS_ALLOWED": orjson.dumps(kafka.reply_topics_allowed).decode(),
        "PELTON_KAFKA__GROUP_SECRET": kafka.group_secret.get_secret_value() if kafka.group_secret else "",
        "PELTON_KAFKA__SESSION_TIMEOUT_MS": str(kafka.session_timeout_ms),
    }


def simulated_engine() -> dict[str, str]:
    """The rig's own environment may overrule it."""
    engine = {f"PELTON_ENGINE__SIMULATED__{name}": value for name, value in ENGINE.items()}
    return {
        "PELTON_ENGINE__KIND": "simulated",
        **{name: os.environ.get(name, value) for name, value in engine.items()},
    }
