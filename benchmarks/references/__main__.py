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
among the table's cells gets right. Questions come in an order drawn with `--seed`; with `--limit-s` those count that
were answered in that time.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Output

from benchmarks.references.asked import CELL, FORMS, FREE, SENTENCE, Asked, asked_of, grammar_of, messages_of
from benchmarks.references.shares import Share, shares
from benchmarks.references.writing import Prompt, loaded_model, write
from benchmarks.support.data import TATQA
from pelton.workers.engine.model.loading import LoadedModel

_FREE_TOKENS = 48
_MAX_TOKENS = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="A folder, a hub id, or the default model.")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=[CELL, SENTENCE])
    parser.add_argument("--questions", type=int, help="Only so many; else all.")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="Begin nothing more after that time.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=TATQA, help="Another file of TAT-QA's form.")
    parser.add_argument("--out", type=Path, help="Write the result as JSON there.")
    parser.add_argument("--show", action="store_true", help="Print each question, its cell and the answer.")
    options = parser.parse_args()
    asked = list(asked_of(options.data))
    random.Random(options.seed).shuffle(asked)
    asked = asked[: options.questions]
    began = time.perf_counter()
    answers = _answers(loaded_model(options.model), asked, options.forms, options.limit_s)
    results = []
    for form, texts in answers.items():
        answered = [question for place, question in enumerate(asked) if place in texts]
        found = shares(answered, [texts[place] for place in sorted(texts)])
        Console().print(_table(f"{form}: {options.model}, {len(answered)} questions", found))
        results.append({"form": form, "model": options.model, "questions": len(answered)} | _json(found))
        if options.show:
            for place, text in sorted(texts.items()):
                print(f"{asked[place].text} | {asked[place].cell.id} {asked[place].cell.label} | {text}")
    seconds = round(time.perf_counter() - began, 1)
    print(json.dumps({"seconds": seconds, "results": results}))
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _answers(
    loaded: LoadedModel, asked: Sequence[Asked], forms: Sequence[str], limit_s: float
) -> dict[str, dict[int, str]]:
    """For each form the answers by the places of their questions."""
    cases = [(place, form) for place in range(len(asked)) for form in forms]
    prompts = [
        Prompt(
            f"{asked[place].context} {form == FREE}",
            messages_of(form, asked[place]),
            grammar_of(form, asked[place].table),
            _FREE_TOKENS if form == FREE else _MAX_TOKENS,
        )
        for place, form in cases
    ]
    texts = write(loaded, prompts, limit_s)
    found: dict[str, dict[int, str]] = {form: {} for form in forms}
    for number, text in texts.items():
        place, form = cases[number]
        found[form][place] = text
    return found


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
