"""Who may join the engine when some of the waiting are suspected of having ended a worker.

Suspects run in groups with nobody else: a group that gets through is innocent to the last, one that does not is split
further. Pure policy; property-tested by simulating crashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pelton.workers.quarantine.crash_history import CrashHistory

TURN_S = 1.0
"""After each group of suspects everybody else has this long to join the engine, so that neither starves the other."""


@dataclass(frozen=True, slots=True)
class QuarantinePlan:
    """Indexes of the waiting: the `condemned` are not to run again, `candidates` may join now.

    `suspects` says that the candidates are a group of suspects, `look_again` when the offer changes by itself.
    """

    condemned: tuple[int, ...]
    candidates: tuple[int, ...]
    suspects: bool = False
    look_again: float | None = None


class QuarantinePolicy:
    """Alternates between groups of suspects, alone in the engine, and a turn of everybody else."""

    def __init__(self, max_lone_crashes: int, turn_s: float = TURN_S) -> None:
        self._max_lone_crashes = max_lone_crashes
        self._turn_s = turn_s
        self._isolating = False
        self._turn_ends = float("-inf")

    def offer(self, waiting: Sequence[CrashHistory | None], *, running: int, now: float) -> QuarantinePlan:
        """What of `waiting` (None: no suspect) may join an engine with `running` requests in it. Seconds, any clock."""
        condemned = tuple(
            index for index, blame in enumerate(waiting) if blame is not None and self._is_condemned(blame)
        )
        suspects = {
            index: blame for index, blame in enumerate(waiting) if blame is not None and not self._is_condemned(blame)
        }
        others = tuple(index for index, blame in enumerate(waiting) if blame is None)
        if self._isolating and not running:
            self._isolating = False
            self._turn_ends = now + self._turn_s
        if self._isolating:
            return QuarantinePlan(condemned, ())
        if not suspects:
            return QuarantinePlan(condemned, others)
        if others and now < self._turn_ends:
            return QuarantinePlan(condemned, others, look_again=self._turn_ends)
        if running:  # the group needs an empty engine
            return QuarantinePlan(condemned, ())
        return QuarantinePlan(condemned, _group(suspects), suspects=True)

    def began(self) -> None:
        """Some of an offered group of suspects have joined the engine."""
        self._isolating = True

    def _is_condemned(self, blame: CrashHistory) -> bool:
        return blame.alone >= self._max_lone_crashes


def _group(suspects: dict[int, CrashHistory]) -> tuple[int, ...]:
    """Suspects with the same history, those first that may run in the largest group: most are cleared soonest."""
    size = max(blame.most_together for blame in suspects.values())
    alike = (index for index, blame in suspects.items() if blame.most_together == size)
    return tuple(index for index, _ in zip(alike, range(size), strict=False))
