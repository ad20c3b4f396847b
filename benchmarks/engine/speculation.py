"""What guessing tokens from the prompt gains, and what it costs where it cannot gain.

    python -m benchmarks.engine.speculation [--rows N ...] [--turns N] [--workload filing|story ...] [--weights TYPE]

filing   eight questions over one filing (TAT-QA's paragraphs and table, `benchmarks/data`), to be answered in its
         words, greedily; the filing has been computed before, as for all but the first question on it
story    short prompts with nothing to quote, sampled at temperature 1: what is guessed does not come true

Two engines on the same weights, one that guesses and one that does not, get the same requests, `rows` at a time, and
take their steps in turns: a neighbour slows both. A figure is tokens per second of an engine's own steps, questions'
prompts included; each turn has another filing, and the medians over all turns and of their ratios are shown. Prints a
table and JSON.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.support.data import TATQA
from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec

QUESTIONS, ANSWER_TOKENS, STORY_TOKENS = 8, 96, 96
FILING_TOKENS = range(250, 900)
THEMES = ("a lighthouse", "the winter", "two foxes", "a lost letter", "the old train", "a baker", "the sea", "a clock")


@dataclass(frozen=True, slots=True)
class Run:
    """One engine's turn. `drafted` and `accepted` count guesses."""

    tokens: int
    seconds: float
    steps: int
    drafted: int
    accepted: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


@dataclass(slots=True)
class Contender:
    """An engine with requests to be answered, some at a time."""

    engine: ContinuousEngine
    waiting: list[EngineRequest]
    rows: int
    answers: dict[int, tuple[int, ...]]
    seconds: float = 0.0
    steps: int = 0

    @property
    def done(self) -> bool:
        return not self.waiting and not self.engine.running

    def step(self) -> None:
        """Raises RuntimeError when a request fails."""
        started = time.perf_counter()
        while self.waiting and self.engine.running < self.rows:
            self.engine.add(self.waiting.pop(0))
        outcomes = self.engine.step()
        self.seconds += time.perf_counter() - started
        self.steps += 1
        for outcome in outcomes:
            if not isinstance(outcome, Completion):
                raise RuntimeError(f"a request failed: {outcome}")  # noqa: TRY004 (no type error)
            self.answers[outcome.request_id] = outcome.token_ids


def turn(
    engines: dict[str, ContinuousEngine], requests: Sequence[EngineRequest], rows: int
) -> tuple[dict[str, Run], int]:
    """What each engine makes of the requests, and how many answers differ between them."""
    for engine in engines.values():
        first = Contender(engine, [replace(requests[0], params=replace(requests[0].params, max_tokens=1))], 1, {})
        while not first.done:
            first.step()
    before = {name: _guessed(engine) for name, engine in engines.items()}
    contenders = {name: Contender(engine, list(requests), rows, {}) for name, engine in engines.items()}
    while not all(each.done for each in contenders.values()):
        for each in contenders.values():
            if not each.done:
                each.step()
    runs = {}
    for name, each in contenders.items():
        drafted, accepted = (now - then for now, then in zip(_guessed(each.engine), before[name], strict=True))
        runs[name] = Run(sum(map(len, each.answers.values())), each.seconds, each.steps, drafted, accepted)
    mine, others = (each.answers for each in contenders.values())
    return runs, sum(mine[index] != others[index] for index in mine)


def _guessed(engine: ContinuousEngine) -> tuple[int, int]:
    stats = engine.last_step
    return (stats.speculation.drafted, stats.speculation.accepted) if stats else (0, 0)


def filings(loaded: LoadedModel) -> Iterator[list[EngineRequest]]:
    """Eight questions over one filing each time, the filing first in all of them."""
    for line in TATQA.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        table = "\n".join(" | ".join(row) for row in record["table"])
        filing = "\n".join(record["paragraphs"]) + "\n" + table
        asked = [question["question"] for question in record["questions"]]
        if len(loaded.tokenizer(filing)["input_ids"]) in FILING_TOKENS and len(asked) > 1:
            questions = list(itertools.islice(itertools.cycle(asked), QUESTIONS))
            yield [_request(loaded, index, _asking(filing, each)) for index, each in enumerate(questions)]


def _asking(filing: str, question: str) -> str:
    wish = "Quote the sentences or rows of the text above that answer this question, word for word"
    return f"{filing}\n\n{wish}: {question}"


def stories(loaded: LoadedModel) -> Iterator[list[EngineRequest]]:
    for seed in itertools.count():
        yield [
            _request(loaded, index, f"Write a story about {theme}.", temperature=1.0, seed=len(THEMES) * seed + index)
            for index, theme in enumerate(THEMES)
        ]


def _request(loaded: LoadedModel, index: int, prompt: str, **sampling: Any) -> EngineRequest:
    chat = [{"role": "user", "content": prompt}]
    ids = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    params = {"max_tokens": ANSWER_TOKENS, "temperature": 0.0, **sampling}
    return EngineRequest(index, ids, SamplingParams(**params))


WORKLOADS = {"filing": filings, "story": stories}


def measure(loaded: LoadedModel, workload: str, rows: int, turns: int) -> dict[str, Any]:
    """The medians of some turns, after one that is not counted."""
    engines = {
        "prompt": ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.5, speculation="prompt")),
        "off": ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.5, speculation="off")),
    }
    batches = WORKLOADS[workload](loaded)
    turn(engines, next(batches), rows)
    runs, different = [], 0
    for number in range(turns):
        order = dict(sorted(engines.items(), reverse=bool(number % 2)))
        found, unequal = turn(order, next(batches), rows)
        runs.append(found)
        different += unequal
    rates = {name: statistics.median(run[name].rate for run in runs) for name in engines}
    ratios = [run["prompt"].rate / run["off"].rate for run in runs]
    guessed = [run["prompt"] for run in runs]
    drafted = sum(run.drafted for run in guessed)
    return {
        "workload": workload, "rows": rows, "turns": turns, "tokens_per_second": rates,
        "ratio": statistics.median(ratios), "ratios": [round(ratio, 3) for ratio in ratios],
        "accepted": sum(run.accepted for run in guessed) / drafted if drafted else None, "drafted": drafted,
        "steps": {name: sum(run[name].steps for run in runs) for name in engines},
        "tokens": sum(run.tokens for run in guessed), "different_answers": different,
        "runs": [{name: asdict(each) for name, each in run.items()} for run in runs],
    }  # fmt: skip


def _report(results: Sequence[dict[str, Any]]) -> None:
    table = Table("workload", "rows", "off, tokens/s", "prompt, tokens/s", "ratio", "accepted", "answers that differ")
    for each in results:
        rates = each["tokens_per_second"]
        accepted = "-" if each["accepted"] is None else f"{each['accepted']:.0%} of {each['drafted']}"
        different = f"{each['different_answers']} of {each['turns'] * QUESTIONS}"
        speeds = f"{rates['off']:.1f}", f"{rates['prompt']:.1f}", f"{each['ratio']:.2f}"
        table.add_row(each["workload"], str(each["rows"]), *speeds, accepted, different)
    Console().print(table)
    print(json.dumps(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--weights", default="auto", choices=["auto", "int8"])
    parser.add_argument("--workload", nargs="*", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--rows", nargs="*", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    loaded = load(ModelSpec(asked.model, device="cpu", weights=asked.weights), cache_dir() / "models")
    cases = [(workload, rows) for workload in asked.workload for rows in asked.rows]
    done = track(cases, "Taking turns", console=Console(stderr=True))
    _report([measure(loaded, workload, rows, asked.turns) for workload, rows in done])


if __name__ == "__main__":
    main()
