"""The worker's four states, and who is notified when they change."""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


_FORWARD = list(State)


class Lifecycle:
    """Moves forward only; may skip states (a worker stopped while it starts never becomes ready)."""

    def __init__(self, on_change: Callable[[State], None] = lambda _: None) -> None:
        self.state = State.STARTING
        self._on_change = on_change
        self._leaving = asyncio.Event()

    def advance(self, state: State) -> None:
        """Enter `state`, unless it is already past."""
        if _FORWARD.index(state) <= _FORWARD.index(self.state):
            return
        log.info("%s", state)
        self.state = state
        if state in (State.DRAINING, State.STOPPED):
            self._leaving.set()
        self._on_change(state)

    @property
    def leaving(self) -> bool:
        return self._leaving.is_set()

    async def wait_leaving(self) -> None:
        await self._leaving.wait()


def ready_file_marker(path: Path | None) -> Callable[[State], None]:
    """Keep `path` in existence exactly while the state is READY: one that a killed worker left is removed at once."""
    if path is not None:
        path.unlink(missing_ok=True)

    def mark(state: State) -> None:
        if path is None:
            return
        if state is State.READY:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    return mark
