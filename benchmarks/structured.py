"""What grammars cost: `python -m benchmarks.structured`.

Three engines over one model take turns of a step: one whose rows are free, one whose rows are all held to a schema, one
in which half of them are. So each step is compared with a step of the same size at the same moment, and a neighbour on
the machine slows all of them alike. Prints a table, and the same as JSON.
"""

import json
import statistics
import time
from typing import Annotated

import orjson
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec

ROWS, PROMPT, WARM_UP = 48, 16, 4
LIMITS = {"every row held": 0.05, "half of the rows held": 0.01}
"""Most that a step may take longer than one of free rows, as a part of it."""

ROW = {
    "type": "object",
    "properties": {
        "company": {"type": "string", "maxLength": 40},
        "segment": {"enum": ["retail", "wholesale", "services", "other"]},
        "revenue": {"type": "number"},
        "filed": {"type": "string", "format": "date"},
        "notes": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "required": ["company", "segment", "revenue", "filed", "notes"],
    "additionalProperties": False,
}
# No answer of so many rows ends before it is cut: all contenders generate the same number of tokens.
SCHEMA = {"type": "array", "items": ROW, "minItems": 1_000}


def grammar_of(loaded: LoadedModel) -> Grammar:
    size = loaded.model.config.vocab_size
    compiler = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, size, loaded.eos_token_ids))
    return compiler.compile(GrammarSpec(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA)))


def filled(loaded: LoadedModel, grammar: Grammar, held: int, steps: int) -> ContinuousEngine:
    """An engine whose rows have computed their prompts and decode from here on."""
    limits = ContinuousConfig(
        kv_memory_gib=0.5, max_running=ROWS, max_batch_tokens=ROWS * PROMPT, prefix_cache=False
    )  # fmt: skip
    engine = ContinuousEngine(loaded, limits)
    tokens = torch.randint(100, loaded.model.config.vocab_size, (ROWS, PROMPT), generator=torch.manual_seed(0))
    for row, prompt in enumerate(tokens.tolist()):
        params = SamplingParams(WARM_UP + steps + 2, temperature=0.8, seed=row, ignore_eos=True)
        engine.add(EngineRequest(row, prompt, params, grammar=grammar if row < held else None))
    engine.step()
    return engine


def compare(loaded: LoadedModel, steps: int) -> dict[str, list[float]]:
    """Seconds of each decode step of each contender; step i of one stands beside step i of the others."""
    grammar = grammar_of(loaded)
    seconds: dict[str, list[float]] = {"free": [], **{name: [] for name in LIMITS}}
    held = dict(zip(seconds, (0, ROWS, ROWS // 2), strict=True))
    engines = {name: filled(loaded, grammar, rows, steps) for name, rows in held.items()}
    order = list(engines)
    for step in track(range(WARM_UP + steps), "Stepping in turns", console=Console(stderr=True)):
        order.append(order.pop(0))
        for name in order:
            started = time.perf_counter()
            engines[name].step()
            if step >= WARM_UP:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    free = seconds["free"]
    table = Table("rows", "tokens/s (median step)", "cost", "limit", title=f"{ROWS} rows, steps in turns")
    costs: dict[str, float] = {}
    for name, steps in seconds.items():
        rate = f"{ROWS / statistics.median(steps):.0f}"
        if name == "free":
            table.add_row(name, rate, "", "")
            continue
        pairs = zip(steps, free, strict=True)
        costs[name] = statistics.median(step / beside for step, beside in pairs) - 1
        table.add_row(name, rate, f"{costs[name]:+.2%}", f"{LIMITS[name]:.0%}")
    Console().print(table)
    medians = {name: statistics.median(steps) for name, steps in seconds.items()}
    print(orjson.dumps({"rows": ROWS, "steps": len(free), "median_step_s": medians, "cost": costs}).decode())


def main(
    model: Annotated[str, typer.Option(help="A folder, a hub id, or the default model.")] = "smollm2-135m-instruct",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each, after some that are not counted.")] = 150,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Compare steps of free rows with steps of rows that are held to a schema."""
    loaded = load(ModelSpec(model, dtype=dtype, device="cpu"), cache_dir() / "models")  # type: ignore[arg-type]
    report(compare(loaded, steps))


if __name__ == "__main__":
    typer.run(main)
