"""Sequences as a scheduler would have them, made by hand."""

from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.scheduling.sequences import SequenceState


def sequence(index: int, length: int, pages: list[int]) -> SequenceState:
    made = SequenceState(EngineRequest(index, list(range(10, 10 + length)), SamplingParams(50)), index)
    made.pages = pages
    return made
