"""Rows and pages that are left for requests, as their priorities count them: what lower ones hold can be taken back."""

from collections import Counter
from collections.abc import Sequence

from pelton.workers.engine.api import Waiting
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.sequences import SequenceState


class Room:
    """For one selection: shrinks as requests are taken."""

    def __init__(
        self,
        running: Sequence[SequenceState],
        waiting: Sequence[Waiting],
        pool: PagePool,
        max_running: int,
        lower_share: float,
    ) -> None:
        self._pool = pool
        self._max_running = max_running
        self._reserve = int(lower_share * max_running)
        self._taken = Counter(sequence.priority for sequence in running)
        self._there = self._taken + Counter(request.priority for request in waiting)
        missing = sum(max(0, pool.pages_for(each.length + 1) - len(each.pages)) for each in running)
        self._pages = pool.available - missing
        self._held: Counter[int] = Counter()
        for sequence in running:
            self._held[sequence.priority] += len(sequence.pages)
        self._highest = max(self._there, default=0)

    @property
    def is_full(self) -> bool:
        """Whether there is no row for anybody."""
        return not self.has_row(self._highest) and not self.has_row(min(self._there, default=0))

    def has_row(self, priority: int) -> bool:
        """Whether one more of this priority could run; what lower ones are owed of the rows is not its to take."""
        lower = sum(count for each, count in self._there.items() if each < priority)
        mine = sum(count for each, count in self._taken.items() if each >= priority)
        return mine < self._max_running - min(self._reserve, lower)

    def take(self, request: Waiting) -> bool:
        """Take a row and the pages of a prompt, if there are so many."""
        needed = self._pool.pages_for(request.prompt_tokens + 1)
        if needed > self._pages + sum(held for each, held in self._held.items() if each < request.priority):
            return False
        self._pages -= needed
        self._taken[request.priority] += 1
        return True
