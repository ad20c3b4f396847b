"""A simulated engine that marked requests kill, fail, break or hang: for tests of what must follow."""

import os
import signal
import time
from enum import StrEnum

from pelton.workers import served_model
from pelton.workers.engine.api import EngineRequest, Failure, FailureKind, Outcome
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.engine.simulated.text import decode_tokens
from pelton.workers.remote import build
from pelton.workers.remote.engine import RemoteEngine

HANG_S = 60


class Mark(StrEnum):
    """What the prompt of such a request contains."""

    KILL = "this one kills"
    """The process ends by SIGKILL, as a fault in a kernel ends it."""
    FAIL = "this one fails"
    """The request ends with `FailureKind.INTERNAL`."""
    RAISE = "this one raises"
    """The step raises."""
    HANG = "this one hangs"
    """The step takes a minute."""


class FaultyEngine(SimulatedEngine):
    """Acts when a marked request joins a step, not before."""

    _marked: tuple[tuple[int, Mark], ...] = ()

    def add(self, request: EngineRequest) -> None:
        super().add(request)
        text = decode_tokens(request.prompt)
        self._marked += tuple((request.id, mark) for mark in Mark if mark in text)

    def step(self) -> list[Outcome]:
        marked, self._marked = dict(self._marked), ()
        for mark in marked.values():
            _strike(mark)
        failing = {request_id for request_id, mark in marked.items() if mark is Mark.FAIL}
        for request_id in failing:
            self.cancel(request_id)
        return [_failed(outcome) if outcome.request_id in failing else outcome for outcome in super().step()]


class FaultyRemoteEngine(RemoteEngine):
    """Passes requests on; one that is to kill does so here, and not where it would be answered."""

    _kills = False

    def add(self, request: EngineRequest) -> None:
        super().add(request)
        self._kills |= Mark.KILL in request.text

    def step(self) -> list[Outcome]:
        if self._kills:
            _strike(Mark.KILL)
        return super().step()


def install() -> None:
    """Let this process serve them where the settings ask for a simulated engine, or for an endpoint."""
    setattr(served_model, "SimulatedEngine", FaultyEngine)  # noqa: B010  # the name is imported there, not exported
    setattr(build, "RemoteEngine", FaultyRemoteEngine)  # noqa: B010  # likewise


def _strike(mark: Mark) -> None:
    match mark:
        case Mark.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Mark.RAISE:
            raise RuntimeError("the engine was told to fail")
        case Mark.HANG:
            time.sleep(HANG_S)
        case Mark.FAIL:
            pass  # the step does it


def _failed(outcome: Outcome) -> Outcome:
    return Failure(outcome.request_id, FailureKind.INTERNAL, "The engine was told to fail this.")
