"""A request while it runs in the continuous engine, and the steps it is part of."""

from dataclasses import dataclass

from workers.engine.answers import Answer
from workers.engine.api import Completion, FinishReason, SamplingParams
from workers.engine.chooser import Ask
from workers.engine.execution import Flight
from workers.engine.penalties import History
from workers.engine.scheduler import Work
from workers.engine.sequences import Sequence


@dataclass(slots=True, eq=False)
class Running:
    """A request, its sequence and its answer; the seed is fixed, so that a second attempt draws the same tokens."""

    sequence: Sequence
    answer: Answer
    seed: int

    @property
    def params(self) -> SamplingParams:
        return self.answer.request.params

    def ask(self) -> Ask:
        sequence = self.sequence
        history = History(sequence.tokens, sequence.prompt_length)
        return Ask(self.params, self.seed, position=sequence.length - sequence.prompt_length, history=history)

    def completion(self, reason: FinishReason, now: float) -> Completion:
        return self.answer.completion(reason, tuple(self.sequence.generated.tolist()), self.sequence.cached, now)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What a step does for a request, and whether it chooses a token for it."""

    running: Running
    work: Work
    chooses: bool


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step that was launched and has not landed."""

    pieces: tuple[Piece, ...]
    flight: Flight
