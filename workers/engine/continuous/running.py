"""A request while it runs in the continuous engine, and the steps it is part of."""

from dataclasses import dataclass

import numpy as np

from pelton.workers.engine.api import Completion, FinishReason, SamplingParams
from pelton.workers.engine.executor import StepHandle
from pelton.workers.engine.request_state import RequestState
from pelton.workers.engine.sampling.penalties import History
from pelton.workers.engine.sampling.sampler import SamplingRequest
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.sequences import SequenceState
from pelton.workers.engine.speculation.acceptance import Guesses


@dataclass(slots=True, eq=False)
class RunningRequest:
    """A request, its sequence and its answer; the seed is fixed, so that a second attempt draws the same tokens.

    Without `guesses` no drafts are verified for it.
    """

    sequence: SequenceState
    answer: RequestState
    seed: int
    guesses: Guesses | None = None

    @property
    def params(self) -> SamplingParams:
        return self.answer.request.params

    def asks(self, drafts: tuple[int, ...] = ()) -> list[SamplingRequest]:
        """For the next token, and for those behind each of the drafts."""
        length, prompt_length = self.sequence.length, self.sequence.prompt_length
        text = np.append(self.sequence.tokens, drafts) if drafts else self.sequence.tokens
        return [
            SamplingRequest(
                self.params,
                self.seed,
                position=end - prompt_length,
                history=History(text[:end], prompt_length),
                grammar=self.answer.grammar,
                ends=self.answer.eos_token_ids,
            )
            for end in range(length, length + len(drafts) + 1)
        ]

    def completion(self, reason: FinishReason, now: float) -> Completion:
        return self.answer.completion(reason, tuple(self.sequence.generated.tolist()), self.sequence.cached, now)


@dataclass(frozen=True, slots=True, eq=False)
class StepEntry:
    """What a step does for a request, and how many tokens it chooses for it, the last of them behind drafts."""

    running: RunningRequest
    work: ScheduledChunk
    wanted: int

    @property
    def chooses(self) -> bool:
        return self.wanted > 0


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step that was launched and has not landed."""

    pieces: tuple[StepEntry, ...]
    flight: StepHandle
