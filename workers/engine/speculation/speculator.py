"""How many guessed tokens a step verifies: as many as make its tokens cheapest, by what was measured.

A step that computes a request's newest token can compute guesses at the tokens after it too. Each row's token is chosen
as it would be without (its own logits, its own random number), and a guess counts if it is what was chosen: so answers
are the same, and a step gives as many tokens as guesses came true, and one more. Failed guesses cost time. So those
likeliest to come true are taken first, as long as the tokens to be expected per second grow: Liu et al.:
"Optimizing Speculative Decoding for Serving Large Language Models Using Goodput" (2024).
"""

from collections.abc import Sequence as Items

from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.speculation.acceptance import AcceptanceRates, Guesses
from pelton.workers.engine.speculation.lookup import MOST_DRAFTED
from pelton.workers.engine.speculation.step_costs import StepCosts, size_of
from pelton.workers.engine.stats import SpeculationStats

_PAYS = 1.05  # times the tokens per second of a step without guesses; less may be an error of measurement
_PLAIN_AGAIN = 64  # steps after which one without guesses is measured anew
_LEAST_CHANCE = 0.02


class Speculator:
    """Decides for each step, and learns from it."""

    def __init__(self, max_batch_tokens: int) -> None:
        self.stats = SpeculationStats()
        self._max_batch_tokens = max_batch_tokens
        self._costs = StepCosts()
        self._rates = AcceptanceRates()

    def guesses(self) -> Guesses:
        """For a request that begins."""
        return Guesses(self._rates)

    def drafts(self, works: Items[ScheduledChunk], guesses: Items[Guesses | None]) -> list[tuple[int, ...]]:
        """The guesses to verify behind each of a step's works: none beside prompts, which are better company."""
        for work, own in zip(works, guesses, strict=True):
            if own is not None and work.drafts_fit:
                own.propose(work.sequence.tokens)
        if not all(work.drafts_fit for work in works):
            return [()] * len(works)
        chances = [
            (chance, row)
            for row, (work, own) in enumerate(zip(works, guesses, strict=True))
            if own is not None
            for chance in own.chances(min(MOST_DRAFTED, work.sequence.capacity - work.sequence.length - 1))
            if chance >= _LEAST_CHANCE
        ]
        chances.sort(reverse=True)
        counts = [0] * len(works)
        for _, row in chances[: self._worth([chance for chance, _ in chances], len(works))]:
            counts[row] += 1
        return [
            own.proposal.tokens[:count] if own is not None and own.proposal is not None else ()
            for own, count in zip(guesses, counts, strict=True)
        ]

    def observe(self, works: Items[ScheduledChunk], seconds: float) -> None:
        """Take the time of a step."""
        if works and seconds > 0 and all(work.count == 1 and not work.stored for work in works):
            self._costs.observe(sum(work.rows for work in works), seconds)

    def count(self, drafted: int, accepted: int) -> None:
        """Note how many guesses were verified, and how many of them came true."""
        self.stats = SpeculationStats(self.stats.drafted + drafted, self.stats.accepted + accepted)

    def _worth(self, chances: Items[float], rows: int) -> int:
        """How many of the guesses, likeliest first, to verify beside so many rows."""
        plain = self._costs.seconds(rows)
        if not chances or plain is None or self._costs.age(rows) > _PLAIN_AGAIN:
            return 0
        best, worth, expected = _PAYS * rows / plain, 0, float(rows)
        for count, chance in enumerate(chances[: self._max_batch_tokens - rows], start=1):
            expected += chance
            if size_of(rows + count) != rows + count:
                continue  # steps of every number of tokens would each need kernels of their own
            seconds = self._costs.seconds(rows + count)
            if seconds is None:
                break
            if expected / seconds > best:
                best, worth = expected / seconds, count
        return worth


def speculator_for(limits: EngineLimits, steps_ahead: int) -> Speculator | None:
    """None where it is off, or where a step is planned before the tokens of the one before are known (a GPU)."""
    return Speculator(limits.max_batch_tokens) if limits.speculation == "prompt" and steps_ahead == 0 else None
