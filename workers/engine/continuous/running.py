"""A request while it runs in the continuous engine, and the steps it is part of."""

from dataclasses import dataclass

from pelton.workers.engine.api import Completion, FinishReason, SamplingParams
from pelton.workers.engine.executor import StepHandle
from pelton.workers.engine.request_state import RequestState
from pelton.workers.engine.sampling.penalties import History
from pelton.workers.engine.sampling.sampler import SamplingRequest
from pelton.workers.engine.scheduling.scheduler import ScheduledChunk
from pelton.workers.engine.scheduling.sequences import SequenceState


@dataclass(slots=True, eq=False)
class RunningRequest:
    """A request, its sequence and its answer; the seed is fixed, so that a second attempt draws the same tokens."""

    sequence: SequenceState
    answer: RequestState
    seed: int

    @property
    def params(self) -> SamplingParams:
        return self.answer.request.params

    def ask(self) -> SamplingRequest:
        sequence = self.sequence
        history = History(sequence.tokens, sequence.prompt_length)
        position = sequence.length - sequence.prompt_length
        return SamplingRequest(
            self.params, self.seed, position, history, self.answer.grammar, self.answer.eos_token_ids
        )

    def completion(self, reason: FinishReason, now: float) -> Completion:
        return self.answer.completion(reason, tuple(self.sequence.generated.tolist()), self.sequence.cached, now)


@dataclass(frozen=True, slots=True, eq=False)
class StepEntry:
    """What a step does for a request, and whether it chooses a token for it."""

    running: RunningRequest
    work: ScheduledChunk
    chooses: bool


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step that was launched and has not landed."""

    pieces: tuple[StepEntry, ...]
    flight: StepHandle
