"""How a worker process ends, as its parent reads it."""

import signal
from enum import IntEnum


class WorkerExit(IntEnum):
    """Exit codes of a worker process."""

    DRAINED = 0
    FAILED = 1
    """A part of the worker other than the engine ended; no request is to blame."""
    UNUSABLE = 2
    """Settings, Kafka or the model: another start would end like this one."""
    ENGINE_FAILED = 70
    STALLED = 71
    ORPHANED = 72


_BLAMELESS = frozenset({WorkerExit.DRAINED, WorkerExit.FAILED, WorkerExit.UNUSABLE})


def is_crash(code: int) -> bool:
    """Whether what was in the engine may have caused this end; negative codes are signals, as `subprocess` has them."""
    return code not in _BLAMELESS


def describe_exit(code: int) -> str:
    """The end in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    names = {WorkerExit.ENGINE_FAILED: "its engine failed", WorkerExit.STALLED: "its engine was stuck"}
    reason = names.get(WorkerExit(code)) if code in set(WorkerExit) else None
    return f"ended with status {code}" + (f" ({reason})" if reason else "")
