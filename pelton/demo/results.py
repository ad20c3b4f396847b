"""What the demo measured, for people and for scripts."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pelton.pipeline.outside_text import escaped

SHOWN = 100
"""Characters of a question or an answer that the table shows."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and what came of it; `answer` is None and `error` set where it was not answered."""

    question: str
    gold: str
    answer: str | None
    error: str | None
    seconds: float
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class BatchStats:
    """From the worker's metrics: rows per batch, and the share of computed tokens that were no padding."""

    mean_rows: float
    mean_fill: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """`seconds` is from the first request sent to the last reply read."""

    model: str
    exchanges: Sequence[Exchange]
    seconds: float
    batches: BatchStats

    @property
    def unanswered(self) -> int:
        return sum(exchange.answer is None for exchange in self.exchanges)

    def figures(self) -> dict[str, Any]:
        """The measurements, rounded for reading."""
        latencies = sorted(exchange.seconds for exchange in self.exchanges)
        new_tokens = sum(exchange.new_tokens for exchange in self.exchanges)
        prompt_tokens = sum(exchange.prompt_tokens for exchange in self.exchanges)
        return {
            "model": self.model,
            "requests": len(self.exchanges),
            "answered": len(self.exchanges) - self.unanswered,
            "seconds": round(self.seconds, 2),
            "requests_per_s": round(len(self.exchanges) / self.seconds, 2),
            "generated_tokens_per_s": round(new_tokens / self.seconds, 1),
            "prompt_tokens_per_s": round(prompt_tokens / self.seconds, 1),
            "latency_p50_s": round(statistics.median(latencies), 2),
            "latency_p95_s": round(_percentile(latencies, 0.95), 2),
            "latency_p99_s": round(_percentile(latencies, 0.99), 2),
            "mean_batch_rows": round(self.batches.mean_rows, 2),
            "mean_batch_fill": round(self.batches.mean_fill, 3),
        }

    def as_json(self) -> dict[str, Any]:
        return {**self.figures(), "exchanges": [asdict(exchange) for exchange in self.exchanges]}

    def as_text(self) -> Group:
        """The table of questions and answers, and below it the figures."""
        answers = Table("question", "answer", "gold answer", "s", title="Questions over financial tables (TAT-QA)")
        for exchange in self.exchanges:
            answer = exchange.answer if exchange.answer is not None else f"[error: {exchange.error}]"
            answers.add_row(*map(_short, (exchange.question, answer, exchange.gold)), f"{exchange.seconds:.1f}")
        figures = Table(show_header=False, box=None)
        for name, value in self.figures().items():
            figures.add_row(name.replace("_", " "), str(value))
        return Group(answers, figures)


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest measured value that at least `share` of all do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _short(text: str) -> Text:
    line = " ".join(text.split())
    return Text(escaped(line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"))
