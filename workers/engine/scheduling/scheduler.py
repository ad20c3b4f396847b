"""What each step computes, and for whom there are pages. Pure: touches no device, knows no clock, holds no queue.

A step is composed under `max_batch_tokens`: first one token of every sequence that decodes, then the prompts, in
chunks. Pages go to whoever comes first in order (priority, then arrival); when they run out, the last in order gives
its own back and is computed again later, mostly out of the prefix cache. So the first in order always advances, and
with it, one after the other, everybody.

Rows go the same way: a request of a higher priority is taken over although all rows are taken, and the last in order
stand back for it, their pages in the prefix cache. A part of the rows is left to the lower priorities, so that a stream
of higher ones never shuts them out.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from pelton.workers.engine.api import Selection, Waiting
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.prefix_cache import PrefixCache, PrefixStats
from pelton.workers.engine.scheduling.room import Room
from pelton.workers.engine.scheduling.sequences import SequenceState


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """`max_running` bounds the sequences that share a step.

    `max_overtakes` is how often smaller requests may go before one that waits for more pages than are left;
    `lower_share` the part of the rows that a higher priority leaves to lower ones, as long as there are such. Beside
    sequences that decode, prompts wait until `gather_tokens` of them are to be computed, at most `gather_steps` steps:
    where a step with prompts costs much more than one without, few of them are better than many.
    """

    max_batch_tokens: int
    max_running: int
    prefix_cache: bool = True
    max_overtakes: int = 16
    lower_share: float = 0.1
    gather_tokens: int = 0
    gather_steps: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_running <= self.max_batch_tokens:
            raise ValueError(
                f"max_running must be between 1 and max_batch_tokens = {self.max_batch_tokens}, not "
                f"{self.max_running}: every running sequence gets its token in every step"
            )


class Scheduler:
    """Composes steps over the sequences that were added and not removed."""

    def __init__(self, config: SchedulerConfig, pool: PagePool) -> None:
        self.preemptions = 0
        self._config = config
        self._pool = pool
        self._prefixes = PrefixCache(pool, enabled=config.prefix_cache)
        self._running: list[SequenceState] = []
        self._overtaken: tuple[float, int, int] | None = None
        self._overtakes = 0
        self._gathered_steps = 0

    @property
    def prefix_stats(self) -> PrefixStats:
        return self._prefixes.stats

    @property
    def running(self) -> Items[SequenceState]:
        """In order: the first is the last to give up its pages."""
        return self._running

    def select(self, waiting: Items[Waiting]) -> Selection:
        """Take from the front while rows and pages last, as its priority counts them.

        A request whose prompt needs more pages than are left is stepped over, at most `max_overtakes` times in all;
        after that nobody behind it is taken before it.
        """
        room = Room(self._running, waiting, self._pool, self._config.max_running, self._config.lower_share)
        chosen: list[int] = []
        overtakes_left: int | None = None
        for index, request in enumerate(waiting):
            if room.is_full or overtakes_left == 0:
                break
            if not room.has_row(request.priority):
                continue
            if room.take(request):
                chosen.append(index)
                if overtakes_left is not None:
                    self._overtakes += 1
                    overtakes_left -= 1
            elif overtakes_left is None:
                overtakes_left = self._overtakes_left(request)
        return Selection(tuple(chosen))

    def add(self, sequence: SequenceState) -> None:
        """Take over a sequence; raises ValueError when it could never get all the pages it may need."""
        if self._pool.pages_for(sequence.capacity) > self._pool.num_pages:
            raise ValueError(
                f"request {sequence.id} may grow to {sequence.capacity} tokens, more than all KV pages hold "
                f"({self._pool.num_pages * self._pool.page_size}); raise kv_memory_gib or lower max_tokens"
            )
        self._running.append(sequence)
        self._running.sort(key=lambda each: each.order)

    def remove(self, sequence: SequenceState, *, trusted: bool = True) -> None:
        """Take a sequence out and its pages back; what is not `trusted` leaves the prefix cache too."""
        if not trusted:
            self._pool.forget(sequence.pages)
        self._give_back(sequence)
        self._running.remove(sequence)

    def plan(self) -> list[ScheduledChunk]:
        """The next step: decodes first, then prompts in chunks, together at most `max_batch_tokens` tokens."""
        works: dict[SequenceState, ScheduledChunk | None] = {}
        active = tuple(self._running[: self._config.max_running])
        self._stand_back(self._running[self._config.max_running :])
        for sequence in active:
            decodes = sequence.pages and sequence.pending == 1 and sequence.ready
            if decodes and self._make_room(sequence, sequence.length, works):
                works[sequence] = ScheduledChunk(sequence, sequence.computed, 1)
        if self._gathers(active, works):
            return [work for work in works.values() if work]
        # What a preemption frees of it from here on is not given away again in this step.
        budget = self._config.max_batch_tokens - sum(work is not None for work in works.values())
        for sequence in active:
            if budget <= 0 or (sequence in works and works[sequence] is None):
                break  # nobody who comes after one that stood back begins with the pages that it leaves over
            if sequence not in works and sequence.ready and (work := self._prefill(sequence, budget, works)):
                works[sequence] = work
                budget -= work.count
        return [work for work in works.values() if work]

    def _gathers(self, active: Items[SequenceState], works: dict[SequenceState, ScheduledChunk | None]) -> bool:
        """Whether the prompts that could be computed now wait for more of them; never where nobody decodes."""
        waiting = sum(sequence.pending for sequence in active if sequence not in works and sequence.ready)
        gathers = (
            0 < waiting < self._config.gather_tokens
            and self._gathered_steps < self._config.gather_steps
            and any(works.values())
        )
        self._gathered_steps = self._gathered_steps + 1 if gathers else 0
        return gathers

    def extend(self, work: ScheduledChunk, drafts: tuple[int, ...]) -> ScheduledChunk:
        """A piece of a planned step with as many of the drafts as there are pages for that nobody is about to need.

        A page taken for them stays with the sequence, which needs it next.
        """
        sequence = work.sequence
        missing = self._pool.pages_for(sequence.length + len(drafts)) - len(sequence.pages)
        if 0 < missing <= self._pool.available - len(self._running):
            sequence.pages += self._pool.allocate(missing) or ()
        room = len(sequence.pages) * self._pool.page_size - sequence.length
        return replace(work, drafts=drafts[:room]) if drafts else work

    def follow(self, sequence: SequenceState) -> ScheduledChunk:
        """Note that the sequence's newest token has been computed already: it is what a draft before it guessed."""
        work = ScheduledChunk(sequence, sequence.computed, 1)
        self.begin(work)
        return work

    def start_over(self, sequence: SequenceState) -> None:
        """Take a sequence's pages, which cannot be trusted, and compute it again from its beginning."""
        self._pool.forget(sequence.pages)
        self._give_back(sequence)

    def begin(self, work: ScheduledChunk) -> None:
        """Note that a piece of work is on its way: what is planned next comes behind it."""
        work.sequence.computed += work.count

    def complete(self, work: ScheduledChunk) -> None:
        """Note that a piece of work is done, its tokens known, and let others find the pages it has filled."""
        self._prefixes.register(work)

    def _prefill(
        self, sequence: SequenceState, budget: int, works: dict[SequenceState, ScheduledChunk | None]
    ) -> ScheduledChunk | None:
        """The next chunk of a prompt, if it may be computed now and there are pages for it."""
        begins = not sequence.pages
        if begins and not self._prefixes.take(sequence):
            return None
        # A prompt of which every page was found ends with a token computed for its logits alone.
        stored = begins and len(sequence.pages) * self._pool.page_size > sequence.computed
        count = min(sequence.pending, budget)
        if not self._make_room(sequence, sequence.computed + count, works):
            if begins:
                self._give_back(sequence)
            return None
        if begins:
            self._prefixes.count(sequence)
        return ScheduledChunk(sequence, sequence.computed, count, stored)

    def _make_room(
        self, sequence: SequenceState, tokens: int, works: dict[SequenceState, ScheduledChunk | None]
    ) -> bool:
        """Give a sequence the pages for `tokens`, if need be those of sequences that come after it in order."""
        missing = self._pool.pages_for(tokens) - len(sequence.pages)
        while missing > self._pool.available:
            last = next((each for each in reversed(self._running) if each.pages), None)
            if last is None or last.order <= sequence.order:
                return False
            self._give_back(last)
            works[last] = None  # not again in this step: it would only take pages back
            self.preemptions += 1
        sequence.pages += self._pool.allocate(missing) or ()
        return True

    def _give_back(self, sequence: SequenceState) -> None:
        self._pool.release(sequence.pages)
        sequence.pages, sequence.computed = [], 0
        sequence.stays += 1
        self._prefixes.abandon(sequence)

    def _stand_back(self, beyond: Items[SequenceState]) -> None:
        """Take the pages of those that have no row in this step; what was full of them is found again later."""
        for sequence in beyond:
            if sequence.pages:
                self._give_back(sequence)
                self.preemptions += 1

    def _overtakes_left(self, request: Waiting) -> int:
        """How many may still go before this request; the count begins anew with every other one."""
        overtaken = (request.since, request.prompt_tokens, request.max_new_tokens)
        if overtaken != self._overtaken:
            self._overtaken, self._overtakes = overtaken, 0
        return self._config.max_overtakes - self._overtakes
