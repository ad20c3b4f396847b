"""How well the check of free text tells true figures from altered ones, on real reports.

Each gold answer of TAT-QA's development file stands in its question's sentence, true and altered in five ways.
A true figure is right when it is supported or derived, an altered one when it is unsupported.
The rules were developed on one random half; `--half held-out` measures the other, `--half all` both.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures_altered import KINDS, Question, Statement, altered, questions, statement
from pelton.producers.reports.figures import UNSUPPORTED
from pelton.producers.reports.figures.checking.check import Checker

_DATA = Path(__file__).parent / "data" / "tatqa_dev.jsonl"
_SPLIT_SEED, _ALTER_SEED = 7, 11
_HALVES = ("developed", "held-out", "all")
TRUE = "true"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=_HALVES, default="all")
    parser.add_argument("--data", type=Path, default=_DATA, help="Another file of the same form.")
    parser.add_argument("--out", type=Path, help="Write the result as JSON there.")
    parser.add_argument("--wrong", action="store_true", help="Print each text that was judged wrongly.")
    options = parser.parse_args()
    records = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()]
    result = measure(records, _half(len(records), options.half), wrong=options.wrong)
    result |= {"half": options.half, "data": options.data.name}
    Console().print(_table(result))
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _half(count: int, which: str) -> list[int]:
    order = list(range(count))
    random.Random(_SPLIT_SEED).shuffle(order)
    developed = count * 3 // 4
    return {"developed": order[:developed], "held-out": order[developed:], "all": order}[which]


def measure(records: list[dict[str, Any]], chosen: list[int], *, wrong: bool) -> dict[str, Any]:
    """Counts of right verdicts and of texts, for true figures and for each kind of alteration."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    began = time.perf_counter()
    for index in chosen:
        record = records[index]
        checker = Checker.of([record["table"]], record["paragraphs"])
        for question in questions(index, record):
            for kind, said in _statements(question, record):
                flagged = _flagged(checker, said)
                asked[kind] += 1
                good = flagged if kind != TRUE else not flagged
                right[kind] += good
                if wrong and not good:
                    print(f"{kind} | {index} | {said.text} | {question.derivation or question.answer_type}")
    altered_right, altered_asked = (sum(counts[kind] for kind in KINDS) for counts in (right, asked))
    return {
        "contexts": len(chosen),
        "seconds": round(time.perf_counter() - began, 1),
        "true_kept": _share(right[TRUE], asked[TRUE]),
        "altered_flagged": _share(altered_right, altered_asked),
        "kinds": {
            kind: {"right": right[kind], "of": asked[kind], "share": _share(right[kind], asked[kind])} for kind in asked
        },
    }


def _statements(question: Question, record: dict[str, Any]) -> list[tuple[str, Statement]]:
    said = [(TRUE, statement(question.text, question.answer))]
    for kind in KINDS:
        rng = random.Random(f"{_ALTER_SEED} {kind} {question.context} {question.text}")
        wrong = altered(question, record, kind, rng)
        if wrong is not None:
            said.append((kind, wrong))
    return said


def _flagged(checker: Checker, said: Statement) -> bool:
    """Whether the answer is unsupported; an answer that is not seen as a figure is not flagged, and not kept."""
    verdicts = [verdict for verdict in checker.check(said.text) if verdict.end > said.start]
    return not verdicts or any(verdict.verdict == UNSUPPORTED for verdict in verdicts)


def _share(right: int, of: int) -> float:
    return round(100 * right / of, 2) if of else 0.0


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"Free text against its source: {result['half']}, {result['contexts']} contexts")
    for heading in ("figures", "judged rightly", "of", "share"):
        table.add_column(heading, justify="left" if heading == "figures" else "right")
    for kind, counts in result["kinds"].items():
        name = "true: supported or derived" if kind == TRUE else f"{kind} altered: flagged"
        table.add_row(name, str(counts["right"]), str(counts["of"]), f"{counts['share']:.1f} %")
    table.add_row("all altered: flagged", "", "", f"{result['altered_flagged']:.1f} %")
    return table


if __name__ == "__main__":
    main()
