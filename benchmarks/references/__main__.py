"""How often a model that writes by reference chooses the wrong cell: `python -m benchmarks.references`.

By reference a figure cannot be altered, but the model may choose a cell that is not what it writes about. Each question
here is one of TAT-QA whose gold answer is one cell of its table. The model sees the table with ids as in a report's
section and answers greedily under a grammar, in one of three forms:

- cell: the answer is one reference, `[[T1.r3.c2]]`, to any numeric cell.
- sentence: one of the sentences that code writes over the table, which name row and column, one for each cell. Guided
  sections (the samples' own setting) are made of such sentences.
- free: prose with references, operations too, as an unguided section is written. Nothing demands a reference; the share
  of answers with a figure is printed, and a share of few answers says little.

Printed is the share of answers with the right cell, row and column, Wilson's interval of 95 %, and what a blind choice
among the table's cells gets right.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Output

from benchmarks.references.asked import CELL, FORMS, FREE, SENTENCE, Asked, asked_of, grammar_of
from benchmarks.references.shares import Share, shares
from benchmarks.references.writing import loaded_model, write
from pelton.workers.engine.model.loading import LoadedModel

_DATA = Path(__file__).parents[1] / "data" / "tatqa_dev.jsonl"
_FREE_TOKENS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="A folder, a hub id, or the default model.")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=[CELL, SENTENCE])
    parser.add_argument("--questions", type=int, help="Only the first so many; else all.")
    parser.add_argument("--data", type=Path, default=_DATA, help="Another file of TAT-QA's form.")
    parser.add_argument("--out", type=Path, help="Write the result as JSON there.")
    parser.add_argument("--show", action="store_true", help="Print each question, its cell and the answer.")
    options = parser.parse_args()
    asked = list(asked_of(options.data))[: options.questions]
    loaded = loaded_model(options.model)
    results = []
    for form in options.forms:
        began = time.perf_counter()
        texts = _answers(loaded, asked, form)
        found = shares(asked, texts)
        Console().print(_table(f"{form}: {options.model}, {len(asked)} questions", found))
        seconds = round(time.perf_counter() - began, 1)
        results.append(
            {"form": form, "model": options.model, "questions": len(asked), "seconds": seconds} | _json(found)
        )
        if options.show:
            for question, text in zip(asked, texts, strict=True):
                print(f"{question.text} | {question.cell.id} {question.cell.label} | {text}")
    print(json.dumps(results))
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _answers(loaded: LoadedModel, asked: list[Asked], form: str) -> list[str]:
    grammars = [grammar_of(form, question.table) for question in asked]
    prompts = [question.messages for question in asked]
    if form == FREE:
        return write(loaded, prompts, grammars.__getitem__, _FREE_TOKENS)
    return write(loaded, prompts, grammars.__getitem__)


def _table(title: str, found: dict[str, Share]) -> Output:
    table = Output("right", "answers", "of those with a figure", "share", "95 % interval", "blind choice", title=title)
    for name, one in found.items():
        low, high = one.interval
        share = f"{100 * one.right / one.of:.1f} %" if one.of else "none"
        interval = f"{100 * low:.1f} to {100 * high:.1f} %"
        table.add_row(name, str(one.right), str(one.of), share, interval, f"{100 * one.chance:.1f} %")
    return table


def _json(found: dict[str, Share]) -> dict[str, Any]:
    return {
        name: {
            "right": one.right,
            "of": one.of,
            "interval": [round(bound, 4) for bound in one.interval],
            "blind_choice": round(one.chance, 4),
        }
        for name, one in found.items()
    }


main()
