"""The line between a worker process and its parent: the worker says how it is, and notices when the parent is gone."""

import contextlib
import select
import socket
import threading
from enum import StrEnum


class ChildState(StrEnum):
    """What a worker says, one to a line."""

    ALIVE = "alive"
    READY = "ready"
    NOT_READY = "not-ready"


class ParentLink:
    """The worker's end of a socket pair whose other end only the parent holds. Any thread; never waits."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._socket = link
        self._lock = threading.Lock()

    @classmethod
    def inherited(cls, fd: int) -> "ParentLink":
        """Over the descriptor that the parent passed on."""
        return cls(socket.socket(fileno=fd))

    def say(self, word: ChildState) -> None:
        """Send the parent a state. It is dropped, which is harmless, where the parent has let the buffer fill up."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.send(f"{word}\n".encode())

    def wait_parent_gone(self, timeout_s: float) -> bool:
        """Wait for the parent to end, at most that long; whether it has."""
        readable, _, _ = select.select([self._socket], [], [], timeout_s)
        return bool(readable)  # it never writes: only the end of file can be read

    def close(self) -> None:
        self._socket.close()
