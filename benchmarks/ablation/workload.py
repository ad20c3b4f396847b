"""The requests that every stage answers: a long beginning in common, questions of all lengths, and some asked again."""

import random
from dataclasses import dataclass

import orjson

WORDS = ("revenue", "margin", "liquidity", "debt", "covenant", "segment", "cash", "tax", "goodwill", "lease", "audit")
BEGINNING_WORDS = 220
REPEATED = 0.25
FEWEST_TOKENS, MAX_TOKENS = 8, 48


@dataclass(frozen=True, slots=True)
class Question:
    system: str
    text: str
    new_tokens: int

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.text}]

    def body(self) -> bytes:
        return orjson.dumps(
            {
                "model": "default",
                "messages": self.messages,
                "temperature": 0,
                "max_completion_tokens": self.new_tokens,
            }
        )


def questions(count: int, seed: int = 0) -> list[Question]:
    """The same for the same seed. A quarter are equal to earlier ones."""
    dice = random.Random(seed)
    beginning = f"You answer questions about a filing ({seed}). " + " ".join(dice.choices(WORDS, k=BEGINNING_WORDS))
    found: list[Question] = []
    for number in range(count):
        if found and dice.random() < REPEATED:
            found.append(dice.choice(found))
        else:
            text = f"{number}: " + " ".join(dice.choices(WORDS, k=dice.randint(8, 60)))
            found.append(Question(beginning, text, dice.randint(FEWEST_TOKENS, MAX_TOKENS)))
    return found
