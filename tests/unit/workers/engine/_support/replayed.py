"""CUDA graphs where there is no CUDA: a replay computes the step again, into the memory that it was captured into."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from pelton.workers.engine.cuda.graphs import Graphs
from pelton.workers.engine.cuda.step_shape import StepShape


@dataclass(frozen=True)
class Steps:
    """How often a step of each shape was replayed, and how often one was computed as it is."""

    replayed: Counter[StepShape] = field(default_factory=Counter)
    computed: Counter[StepShape] = field(default_factory=Counter)


@dataclass(frozen=True)
class Replay:
    graphs: Graphs
    shape: StepShape
    outputs: tuple[torch.Tensor, torch.Tensor]
    steps: Steps

    def replay(self) -> None:
        self.steps.replayed[self.shape] += 1
        for kept, fresh in zip(self.outputs, self.graphs._compute(self.shape), strict=True):
            kept.copy_(fresh)


def replay_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Let `Graphs.capture` capture here, as far as that goes; returns what is counted of later steps."""
    steps = Steps()
    run = Graphs.run

    def capture(self: Graphs, shape: StepShape, _pool: Any) -> tuple[Replay, tuple[torch.Tensor, torch.Tensor]]:
        self._prepare(shape)
        logits, chosen = self._compute(shape)
        logits = logits.clone() if shape.wanted is None else self._logits[: shape.wanted].copy_(logits)
        return Replay(self, shape, (logits, chosen), steps), (logits, chosen)

    def counted(self: Graphs, shape: StepShape) -> tuple[torch.Tensor, torch.Tensor]:
        if shape not in self._captured:
            steps.computed[shape] += 1
        return run(self, shape)

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(Graphs, "_capture", capture)
    monkeypatch.setattr(Graphs, "run", counted)
    return steps
