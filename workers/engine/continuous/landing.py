"""What becomes of a step's choices: requests go on by a token, or by several where guesses came true, or end."""

from collections.abc import MutableMapping
from collections.abc import Sequence as Items
from typing import Protocol

from pelton.workers.engine.api import Failure, Outcome, TokenLogprob
from pelton.workers.engine.continuous.running import RunningRequest, StepEntry
from pelton.workers.engine.sampling.sampler import SampledToken
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.scheduler import Scheduler
from pelton.workers.engine.speculation.speculator import Speculator


class Pages(Protocol):
    """Keys and values, wherever they lie."""

    def zero(self, pages: Items[int]) -> None:
        """Wipe pages that may hold NaN."""


class Landing:
    """Takes requests that end out of those that are `running`."""

    def __init__(
        self,
        scheduler: Scheduler,
        pool: PagePool,
        store: Pages,
        running: MutableMapping[int, RunningRequest],
        speculator: Speculator | None,
    ) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._store = store
        self._running = running
        self._speculator = speculator

    def advance(self, piece: StepEntry, choices: Items[SampledToken], now: float) -> Outcome | None:
        """Go on by what was chosen, nothing for a part of a prompt; returns what ends the request, if it ends."""
        if not choices:
            self._scheduler.complete(piece.work)
            return None
        tokens = [choice.token for choice in choices if choice.token is not None]
        if len(tokens) < len(choices):
            return self._broken(piece)
        running, drafts = piece.running, piece.work.drafts
        right = next((place for place, draft in enumerate(drafts) if draft != tokens[place]), len(drafts))
        if running.guesses is not None:
            running.guesses.compare(tokens[: right + 1])
        outcome = self._take(running, piece.work, tokens[0], choices[0].logprob, now)
        taken = 0
        while outcome is None and taken < right:
            taken += 1
            running.sequence.reserve()
            follows = self._scheduler.follow(running.sequence)
            outcome = self._take(running, follows, tokens[taken], choices[taken].logprob, now)
        if self._speculator is not None:
            self._speculator.count(len(drafts), taken)
        return outcome

    def _broken(self, piece: StepEntry) -> Outcome | None:
        """End a request with broken logits; where drafts may have broken them, compute it again without."""
        running = piece.running
        if not piece.work.drafts:
            self.leave(running, trusted=False)
            return running.answer.invalid_output()
        pages = tuple(running.sequence.pages)
        running.sequence.forgo()
        running.guesses = None
        self._scheduler.start_over(running.sequence)
        self._wipe(pages)
        return None

    def _take(
        self, running: RunningRequest, work: ScheduledChunk, token: int, logprob: TokenLogprob | None, now: float
    ) -> Outcome | None:
        """Go on by a token, for which `work` was done."""
        self._scheduler.complete(work)
        running.sequence.settle(token)
        reason = running.answer.accept(token, logprob, now)
        if reason is None:
            return None
        self.leave(running)
        return reason if isinstance(reason, Failure) else running.completion(reason, now)

    def leave(self, running: RunningRequest, *, trusted: bool = True) -> None:
        """Take a request out and its pages back; those of a fault are wiped, so that their next owner meets no NaN."""
        sequence = running.sequence
        pages = tuple(sequence.pages)
        self._scheduler.remove(sequence, trusted=trusted)
        del self._running[sequence.id]
        if not trusted:
            self._wipe(pages)

    def _wipe(self, pages: Items[int]) -> None:
        """Zero those of the pages that nobody holds any more."""
        self._store.zero([page for page in pages if not self._pool.is_held(page)])
