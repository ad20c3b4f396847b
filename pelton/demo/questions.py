"""The demo's questions, as chat-completions bodies. See ATTRIBUTION.md for their origin."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson

INSTRUCTION = "Answer the question from the table and the text alone. Give only the answer, as briefly as you can."
MAX_ANSWER_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the prompt that asks it, and the answer that people found right."""

    text: str
    prompt: str
    gold: str

    def body(self) -> dict[str, Any]:
        """The request: greedy, so that the same question gets the same answer."""
        return {
            "model": "default",
            "messages": [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": self.prompt}],
            "temperature": 0,
            "max_completion_tokens": MAX_ANSWER_TOKENS,
        }


def questions(count: int) -> list[Question]:
    """`count` questions, each from another context than the one before it; they repeat when they run out."""
    lines = resources.files(__package__).joinpath("tatqa_sample.jsonl").read_bytes().splitlines()
    contexts = [list(_of_context(orjson.loads(line))) for line in lines]
    rounds = itertools.zip_longest(*contexts)
    every = [question for one_of_each in rounds for question in one_of_each if question is not None]
    return list(itertools.islice(itertools.cycle(every), count))


def _of_context(context: dict[str, Any]) -> Iterator[Question]:
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in context["table"])
    text = "\n".join(context["paragraphs"])
    for asked in context["questions"]:
        prompt = f"{table}\n\n{text}\n\nQuestion: {asked['question']}"
        yield Question(asked["question"], prompt, _gold(asked))


def _gold(asked: dict[str, Any]) -> str:
    answer = asked["answer"]
    text = "; ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
    return f"{text} {asked['scale']}".strip()
