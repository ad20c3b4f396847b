"""The parent of worker processes: starts them, restarts them, says when all are ready, and drains them all."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pelton.pipeline.lifecycle import State, ready_file_marker
from pelton.pipeline.settings.worker import WorkerSettings
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.gpus import gpus_for
from pelton.workers.supervisor.replica import Crash, Launch, Replica, Unusable
from pelton.workers.supervisor.wait_policy import wait_policy

log = logging.getLogger(__name__)

DRAIN_MARGIN_S = 15.0
"""Added to the drain time-out: by then a worker that can has left."""


class Supervisor:
    """Runs as many workers as the settings say. Make it on the loop that runs it."""

    def __init__(
        self,
        settings: WorkerSettings,
        command: Sequence[str],
        on_crash: Callable[[Crash], Awaitable[None]],
        gpus: Sequence[str] = (),
        gpus_each: int = 1,
    ) -> None:
        """`command` starts a worker when the options of `replica` are appended; `gpus` are shared out among them."""
        self._drain_limit_s = settings.drain_timeout_s + DRAIN_MARGIN_S
        self._draining = False
        self._replicas = [
            Replica(index, launch_of(settings, command, index, gpus, gpus_each), self._on_change, on_crash)
            for index in range(settings.replicas)
        ]
        self._mark_pool = ready_file_marker(settings.ready_file)
        self._mark_replicas = [ready_file_marker(_numbered(settings.ready_file, n)) for n in range(settings.replicas)]

    async def run(self) -> WorkerExit:
        """Keep the workers running until SIGTERM or SIGINT drains them; a second one ends them at once."""
        keeping = [asyncio.create_task(replica.keep()) for replica in self._replicas]
        unusable = False
        with _on_stop_signals(self.stop):
            for kept in asyncio.as_completed(keeping):
                try:
                    await kept
                except Unusable:
                    unusable = True
                    self._drain()
        if unusable:
            return WorkerExit.UNUSABLE
        return WorkerExit.DRAINED if all(replica.orderly for replica in self._replicas) else WorkerExit.FAILED

    def stop(self) -> None:
        """Drain; called again, end all workers at once."""
        if self._draining:
            log.warning("a second signal: ending the workers at once")
            self._kill()
        self._drain()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            for replica in self._replicas:
                replica.stop()
            asyncio.get_running_loop().call_later(self._drain_limit_s, self._kill)

    def _kill(self) -> None:
        for replica in self._replicas:
            replica.kill()

    def _on_change(self) -> None:
        for replica, mark in zip(self._replicas, self._mark_replicas, strict=True):
            mark(_state(ready=replica.ready))
        self._mark_pool(_state(ready=all(replica.ready for replica in self._replicas)))


def launch_of(
    settings: WorkerSettings, command: Sequence[str], index: int, gpus: Sequence[str], gpus_each: int
) -> Launch:
    """How worker `index` is started: each has its own metrics port and GPUs."""
    environment = wait_policy() | gpus_for(index, settings.replicas, gpus, gpus_each)
    if settings.metrics_port:
        environment["PELTON_WORKER__METRICS_PORT"] = str(settings.metrics_port + index)
    return Launch(command, environment, settings.stall_timeout_s)


def _numbered(path: Path | None, index: int) -> Path | None:
    return path and path.with_name(f"{path.name}-{index}")


def _state(*, ready: bool) -> State:
    return State.READY if ready else State.STARTING


@contextmanager
def _on_stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
