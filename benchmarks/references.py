"""How often a model that writes by reference chooses the wrong cell: `python -m benchmarks.references`.

By reference a figure cannot be altered, but the model may choose a cell that is not what it writes about. Each section
here is asked for one sentence on one cell of a sample report's tables, named by its row and its period, and written by
the model under the reference grammar as in a real job (greedy, no guidance). Three counts:

- asked: of the sections with an amount, those whose first one is the cell that was asked for; apart from that, its row,
  and its period. A computed amount, where a cell was asked for, is chosen wrongly. A section without an amount chose
  nothing: how many there are is told apart, and a share of few amounts says little.
- row: of all amounts, those whose sentence says at least half of the words of their row's label.
- period: of all amounts whose sentence names a period, those whose cell is of one of the periods named.

The latter two hold the text against itself; they are what a reader would notice. Cells are drawn with `--seed`; rows
whose label says nothing, and cells without a period, are not asked for. With `guided` sentences (the samples' own
setting) code writes the sentence around its own cells, so none of this can happen; that is not measured here.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Output

from pelton.pipeline.paths import cache_dir
from pelton.producers.reports.figures import Cell, Figure
from pelton.producers.reports.figures.checking.words import stems
from pelton.producers.reports.figures.lexing.periods import periods
from pelton.producers.reports.figures.tables.text_numbers import sentences
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.planning.tidy import tidy
from pelton.producers.reports.spec.model import JobSpec
from pelton.workers.engine.api import Completion, EngineRequest, FinishReason, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load

_SAMPLES = Path(__file__).parent.parent / "pelton" / "reports" / "samples"
_SOURCES = ("metro", "ibm", "teekay")
_PROMPT = "{{ rules }}\n\n{{ tables }}\n\nWrite one sentence that states {{ section.title }}."
_MOST_TOKENS = 48
_LONGEST_LABEL = 80
_ROWS = 16
_HALF = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="A folder, a hub id, or the default model.")
    parser.add_argument("--sections", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Write the result as JSON there.")
    parser.add_argument("--show", action="store_true", help="Print what was asked for and what was written.")
    options = parser.parse_args()
    began = time.perf_counter()
    loaded = load(ModelSpec(options.model, dtype="auto", device="cpu"), cache_dir() / "models")
    found: Counter[str] = Counter()
    each = [options.sections // len(_SOURCES) + (place < options.sections % len(_SOURCES)) for place in range(3)]
    for source, count in zip(_SOURCES, each, strict=True):
        plan, asked = asked_of(source, count, options.seed)
        for node_id, text in _written(loaded, plan).items():
            judged = judge(plan, node_id, text, asked[node_id])
            found.update(judged)
            if options.show:
                print(f"{plan.nodes[node_id].section.title} | {plan.judge(node_id, text).text} | {dict(judged)}")
    result = {
        "model": options.model,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - began, 1),
        **_shares(found),
    }
    Console().print(_table(result))
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def asked_of(source: str, count: int, seed: int) -> tuple[Plan, dict[str, Cell]]:
    """A job over one sample with a section for each of `count` cells, and which cell each section is about."""
    content = (_SAMPLES / f"{source}.json").read_text(encoding="utf-8")
    base = {"entity": source, "period": "all", "sources": [{"name": source, "format": "json", "content": content}]}
    section = {"id": "s", "title": "s", "prompt": _PROMPT}
    tables = Plan(JobSpec.model_validate(base | {"sections": [section]})).nodes["s"].excerpt.tables
    cells = [cell for table in tables if table.id.startswith("T") for cell in table.numeric if _can_be_asked(cell)]
    rng = random.Random(f"{seed} {source}")
    drawn = [rng.choice(cells) for _ in range(count)]
    sections = [
        {**section, "id": f"s{number}", "title": f"{cell.label} in {cell.period}"} for number, cell in enumerate(drawn)
    ]
    plan = Plan(JobSpec.model_validate(base | {"sections": sections}))
    return plan, {f"s{number}": cell for number, cell in enumerate(drawn)}


def _can_be_asked(cell: Cell) -> bool:
    return bool(stems(cell.label)) and len(cell.label) <= _LONGEST_LABEL and bool(periods(cell.period))


def _written(loaded: LoadedModel, plan: Plan) -> dict[str, str]:
    """The texts of the plan's sections."""
    vocabulary = loaded.model.config.vocab_size
    grammars = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, vocabulary, loaded.eos_token_ids))
    engine = ContinuousEngine(loaded, ContinuousConfig(max_running=_ROWS, kv_memory_gib=1.0))
    waiting = list(enumerate(plan.nodes))
    names = dict(waiting)
    texts: dict[str, str] = {}
    while waiting or engine.running:
        rows = _ROWS if texts else 1  # the first computes the tables, the others find them computed
        while waiting and engine.running < rows:
            number, node_id = waiting.pop(0)
            body = plan.request(node_id, {}).body
            prompt = _tokens(loaded, body["messages"])
            grammar = grammars.compile(GrammarSpec(GrammarKind.LARK, body["structured_outputs"]["grammar"]))
            params = SamplingParams(_MOST_TOKENS, temperature=0.0)
            engine.add(EngineRequest(number, prompt, params, grammar=grammar))
        for outcome in engine.step():
            if not isinstance(outcome, Completion):
                raise TypeError(f"section {outcome.request_id} failed: {outcome}")
            text = loaded.tokenizer.decode(outcome.token_ids, skip_special_tokens=True)
            texts[names[outcome.request_id]] = tidy(text, cut_off=outcome.finish_reason is FinishReason.LENGTH)
    return texts


def _tokens(loaded: LoadedModel, messages: list[dict[str, str]]) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens: list[int] = loaded.tokenizer.encode(text, add_special_tokens=False)
    return tokens


def judge(plan: Plan, node_id: str, raw: str, asked: Cell) -> Counter[str]:
    """What one section adds to the counts."""
    outcome = plan.judge(node_id, raw)
    tables = plan.nodes[node_id].excerpt.tables
    cells = {cell.id: cell for table in tables for cell in table.cells}
    amounts = [figure for figure in outcome.figures if figure.sources[0].id in cells]
    found: Counter[str] = Counter({"sections": 1, "amounts": len(amounts)})
    if amounts:
        first = amounts[0]
        chosen = cells[first.sources[0].id]
        is_plain = first.operation == "value"
        found["with an amount"] += 1
        found["asked cell"] += is_plain and chosen.id == asked.id
        found["asked row"] += is_plain and chosen.row == asked.row and _table_of(chosen) == _table_of(asked)
        found["asked period"] += is_plain and chosen.period == asked.period
    for figure in amounts:
        sentence = _sentence(outcome.text, figure)
        found["row said"] += _says_row(sentence, figure)
        named = periods(sentence)
        if named:
            found["amounts with a period"] += 1
            mine = [one for source in figure.sources for one in periods(cells[source.id].period)]
            found["period said"] += any(one.agrees_with(two) for one in mine for two in named)
    return found


def _table_of(cell: Cell) -> str:
    return cell.id.split(".", maxsplit=1)[0]


def _sentence(text: str, figure: Figure) -> str:
    """The figure's sentence, without the figure itself."""
    start, end = next((a, b) for a, b in sentences(text) if a <= figure.start < b)
    return text[start : figure.start] + " " + text[figure.end : max(end, figure.end)]


def _says_row(sentence: str, figure: Figure) -> bool:
    said = stems(sentence)
    labels = [stems(source.label) for source in figure.sources]
    return all(not label or len(label & said) >= _HALF * len(label) for label in labels)


def _shares(found: Counter[str]) -> dict[str, Any]:
    of = {
        "with an amount": "sections", "asked cell": "with an amount", "asked row": "with an amount",
        "asked period": "with an amount", "row said": "amounts", "period said": "amounts with a period",
    }  # fmt: skip
    shares = {name: round(100 * found[name] / found[whole], 1) if found[whole] else None for name, whole in of.items()}
    wrong = found["with an amount"] - found["asked cell"]
    without = found["sections"] - found["with an amount"]
    chosen = {"wrong": wrong, "of": found["with an amount"], "sections_without_amount": without}
    return {"counts": dict(found), "shares": shares, "wrongly_chosen": chosen}


def _table(result: dict[str, Any]) -> Output:
    table = Output(
        "right", "share", title=f"Cells chosen by {result['model']}, {result['counts']['sections']} sections"
    )
    for name, share in result["shares"].items():
        table.add_row(name, "none" if share is None else f"{share} %")
    return table


if __name__ == "__main__":
    main()
