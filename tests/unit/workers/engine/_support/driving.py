"""What the engines' tests share: requests, a drive through a continuous engine, answers put into a model's mouth."""

from collections.abc import Callable

import torch

from pelton.workers.engine.api import Completion, EngineRequest, Outcome, SamplingParams
from pelton.workers.engine.continuous.engine import ContinuousEngine

EOS = 256
GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
PROMPTS = ([5, 6, 7], list(range(40, 60)), [9], list(range(100, 111)))
Hook = Callable[[torch.Tensor], torch.Tensor | None]


def drain(engine: ContinuousEngine) -> dict[int, Outcome]:
    outcomes = []
    while engine.running:
        outcomes += engine.step()
    return {outcome.request_id: outcome for outcome in outcomes}


def run(engine: ContinuousEngine, params: SamplingParams | list[SamplingParams] = GREEDY) -> dict[int, Outcome]:
    each = [params] * len(PROMPTS) if isinstance(params, SamplingParams) else params
    for index, (prompt, own) in enumerate(zip(PROMPTS, each, strict=False)):
        engine.add(EngineRequest(index, prompt, own))
    return drain(engine)


def tokens_of(outcomes: dict[int, Outcome]) -> dict[int, tuple[int, ...]]:
    return {index: outcome.token_ids for index, outcome in outcomes.items() if isinstance(outcome, Completion)}


def script(text: bytes) -> Hook:
    """A hook that makes a single row say `text`, and spaces after that."""
    said = iter(text)

    def hook(logits: torch.Tensor) -> torch.Tensor:
        token = torch.tensor([next(said, 32)] * len(logits), dtype=torch.int64)
        return torch.nn.functional.one_hot(token, logits.shape[-1]).float() * 10

    return hook
