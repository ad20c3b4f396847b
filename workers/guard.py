"""What protects a worker from its requests and its requests from each other, in one piece."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.settings import WorkerSettings
from workers.journal import Journal
from workers.retrying import RetryPolicy
from workers.suspects import SuspectTable
from workers.watchdog import StepClock


def new_identity() -> str:
    """Tells this worker from all others, its own former lives included."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _go_on(error: Exception) -> None:
    """By default the error itself ends the worker."""
    del error


@dataclass(frozen=True, slots=True)
class Guard:
    """The parts that a worker process has from its parent; without a parent each does its work for nobody."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_lone_crashes: int = 2
    journal: Journal = field(default_factory=Journal)
    suspects: SuspectTable = field(default_factory=SuspectTable)
    steps: StepClock = field(default_factory=StepClock)
    identity: str = field(default_factory=new_identity)
    on_engine_failure: Callable[[Exception], None] = _go_on
    """Called on the inference thread when the engine raises; may end the process."""

    @classmethod
    def of(cls, settings: WorkerSettings) -> "Guard":
        """For a worker without a parent."""
        return cls(RetryPolicy.of(settings), settings.max_lone_crashes)
