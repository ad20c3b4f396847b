"""What protects a worker from its requests and its requests from each other, in one piece."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from pelton.pipeline.settings.worker import WorkerSettings
from pelton.workers.inference.retries import RetryPolicy
from pelton.workers.inference.step_clock import StepClock
from pelton.workers.quarantine.in_flight_journal import InFlightJournal
from pelton.workers.quarantine.suspects import SuspectTable


def new_identity() -> str:
    """Tells this worker from all others, its own former lives included."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _go_on(error: Exception) -> None:
    """By default the error itself ends the worker."""
    del error


@dataclass(frozen=True, slots=True)
class CrashProtection:
    """The parts that a worker process has from its parent; without a parent each does its work for nobody."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_lone_crashes: int = 2
    journal: InFlightJournal = field(default_factory=InFlightJournal)
    suspects: SuspectTable = field(default_factory=SuspectTable)
    steps: StepClock = field(default_factory=StepClock)
    identity: str = field(default_factory=new_identity)
    on_engine_failure: Callable[[Exception], None] = _go_on
    """Called on the inference thread when the engine raises; may end the process."""

    @classmethod
    def of(cls, settings: WorkerSettings) -> "CrashProtection":
        """For a worker without a parent."""
        return cls(RetryPolicy.of(settings), settings.max_lone_crashes)
