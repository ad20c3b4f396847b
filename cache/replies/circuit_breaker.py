"""A circuit breaker: stops asking a server that fails, until somebody has found it well."""

import logging
from enum import Enum, auto

log = logging.getLogger(__name__)

THRESHOLD = 5
"""Failures in a row that open it: one short pause of the server's fails all that is asked just then."""


class State(Enum):
    CLOSED = auto()
    """All is well: everything passes."""
    OPEN = auto()
    """It failed too often, or was never seen: nothing passes."""
    HALF_OPEN = auto()
    """A probe went well: everything passes, and the next outcome decides."""


class CircuitBreaker:
    """Requests are never the ones to find out whether a failed server is back: only `heal` lets them pass again.

    `name` begins its two log lines. They come in turn, however often it opens before it has closed.
    """

    def __init__(self, name: str, state: State = State.CLOSED) -> None:
        self.state = state
        self._name = name
        self._failures = 0
        self._told = False

    @property
    def passes(self) -> bool:
        return self.state is not State.OPEN

    def succeeded(self) -> None:
        """Does nothing while it is open: the answer to a question from before says nothing about now."""
        if not self.passes:
            return
        self.state = State.CLOSED
        self._failures = 0
        if self._told:
            self._told = False
            log.info("%s: works again", self._name)

    def failed(self, reason: str) -> None:
        self._failures += 1
        if self.state is State.HALF_OPEN or self._failures >= THRESHOLD:
            self.state = State.OPEN
        if not self.passes and not self._told:
            self._told = True
            log.warning("%s: fails (%s), going on without it", self._name, reason)

    def heal(self) -> None:
        """A probe went well."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
            self._failures = 0
