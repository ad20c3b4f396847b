"""What the servers of the local stack have in common: a loopback port, a data folder, a child process."""

import logging
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from pelton.stack import ports
from pelton.stack.errors import StackError
from pelton.stack.process import ChildProcess

log = logging.getLogger(__name__)


class Server(ABC):
    """Starts, stops and crashes one server; port and data stay the same from start to start.

    `close()`, or leaving the context, ends it and deletes the data folder if that is a temporary one.
    """

    name: ClassVar[str]
    port_option: ClassVar[str]
    """What a user turns to choose another port; for messages."""
    ready_timeout_s: ClassVar[float] = 60.0
    grace_s: ClassVar[float] = 10.0

    def __init__(self, *, port: int, data: Path | None) -> None:
        """`port` 0 takes any free one; without `data` everything lies in a temporary folder."""
        self.port = port or ports.free_port()
        self._chosen_folder = data
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._child: ChildProcess | None = None
        self._given_up = threading.Event()

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground; whatever it needs in `folder` is there then."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server serves requests, not merely listens."""

    @property
    def folder(self) -> Path:
        """Data, configuration and log; made when first asked for. Raises `StackError` where it cannot be."""
        if self._chosen_folder is not None:
            try:
                self._chosen_folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StackError(
                    f"{self.name} cannot keep its data in {self._chosen_folder}: {error.strerror}."
                ) from error
            return self._chosen_folder.absolute()
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="pelton-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The server's own process id. Raises `StackError` before the first start."""
        if self._child is None:
            raise StackError(f"{self.name} has not been started.")
        return self._child.pid

    def start(self) -> None:
        """Start it and wait until it answers; does nothing while it runs.

        Raises `StackError` when the port is taken, or when the server ends or stays silent.
        """
        if self.running:
            return
        ports.require_free(self.port, server=self.name, option=self.port_option)
        began = time.monotonic()
        command = self.command()
        if self._given_up.is_set():
            raise StackError(f"{self.name} was not wanted any more.")
        self._child = ChildProcess(
            self.name,
            command,
            log_file=self.folder / f"{self.name.lower()}.log",
            grace_s=self.grace_s,
            scratch=Path(self._temporary.name) if self._temporary else None,
        )
        if self._given_up.is_set():  # while it was being started
            self._child.stop()
        try:
            self._child.wait_ready(self.answers, self.ready_timeout_s)
        except BaseException:
            self._child.stop()
            raise
        log.info("%s answers on port %d after %.1f s", self.name, self.port, time.monotonic() - began)

    def give_up(self) -> None:
        """For another thread than the one that starts it: let that end soon, with `StackError`, and start no more."""
        self._given_up.set()
        self.stop()

    def check(self) -> None:
        """Raises `StackError`, with the end of its log, when the server was started and has ended."""
        if self._child is not None:
            self._child.check()

    def stop(self) -> None:
        """End it in an orderly way; data and port are kept for another `start`."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; data and port are kept for another `start`."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
