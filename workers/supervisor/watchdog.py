"""Ends this process when its engine is stuck in a step, or when its parent is gone.

A thread, because what it watches may never return; it tells the parent that the process is alive, so that the parent
ends it should even this thread be stuck (behind a call that keeps Python's lock).
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from pelton.workers.inference.step_clock import StepClock
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.parent_link import ChildState, ParentLink

log = logging.getLogger(__name__)

BEAT_S = 1.0
ORPHAN_GRACE_S = 5.0
"""How long a worker whose parent is gone may take to finish, publish and leave its group. Whoever restarts the parent
wants the GPU's memory back."""


class Watchdog:
    """Started once, early; runs as long as the process."""

    def __init__(
        self, link: ParentLink, steps: StepClock, stall_timeout_s: float, on_orphaned: Callable[[], None]
    ) -> None:
        self._link = link
        self._steps = steps
        self._stall_timeout_s = stall_timeout_s
        self._on_orphaned = on_orphaned

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        look_s = min(BEAT_S, self._stall_timeout_s / 4)
        while not self._link.wait_parent_gone(look_s):
            self._link.say(ChildState.ALIVE)
            if self._steps.seconds > self._stall_timeout_s:
                self._end_stalled()
        log.error("the parent process is gone: leaving within %.0f s", ORPHAN_GRACE_S)
        self._on_orphaned()
        time.sleep(ORPHAN_GRACE_S)
        os._exit(WorkerExit.ORPHANED)

    def _end_stalled(self) -> None:
        log.critical(
            "the engine has been in one step for more than %.0f s: ending this process. If its steps can take that "
            "long, raise worker.stall_timeout_s; where it hangs is shown below",
            self._stall_timeout_s,
        )
        faulthandler.dump_traceback(sys.stderr)
        os._exit(WorkerExit.STALLED)
