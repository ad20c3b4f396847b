"""The requests that the engine is measured with, as token ids."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pelton.workers.engine.api import SamplingParams

FILING_TOKENS, QUESTIONS, QUESTION_TOKENS, ANSWER_TOKENS = 1_000, 64, 24, 32


@dataclass(frozen=True, slots=True)
class Request:
    prompt: list[int]
    new_tokens: int

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(self.new_tokens, temperature=0.0, ignore_eos=True)


def mixed_sizes() -> list[tuple[int, int]]:
    """Prompt and generated tokens of 48 requests."""
    dice = random.Random(0)
    return [(dice.randint(20, 240), dice.randint(8, 128)) for _ in range(48)]


def mixed_sets(vocab: int, count: int) -> list[list[Request]]:
    """`count` times requests of these sizes, with other tokens each time, so that no prefix cache helps."""
    tokens = random.Random(1)
    return [
        [Request([tokens.randrange(100, vocab) for _ in range(prompt)], new) for prompt, new in mixed_sizes()]
        for _ in range(count)
    ]


def joined(sets: Sequence[list[Request]]) -> list[Request]:
    return [request for each in sets for request in each]


def questions(vocab: int) -> list[Request]:
    tokens = random.Random(2)
    filing = [tokens.randrange(100, vocab) for _ in range(FILING_TOKENS)]
    return [
        Request([*filing, *(tokens.randrange(100, vocab) for _ in range(QUESTION_TOKENS))], ANSWER_TOKENS)
        for _ in range(QUESTIONS)
    ]
