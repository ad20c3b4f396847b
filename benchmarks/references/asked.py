"""Questions of TAT-QA that one cell answers, and grammars in which a model answers them by reference."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures.altered import questions
from pelton.producers.reports.figures import Cell, Table, reference_grammar
from pelton.producers.reports.figures.lexing.lexer import scan
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.spec.model import JobSpec

CELL, SENTENCE, FREE = "cell", "sentence", "free"
FORMS = (CELL, SENTENCE, FREE)

# Where a grammar demands the reference, nothing needs to be said of how one is written.
_PROMPT = "{{ tables }}\n\nAnswer in one sentence: {{ section.title }}"
_FREE_PROMPT = "{{ rules }}\n\n" + _PROMPT
_LONGEST_TITLE = 200
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the messages that ask it, the table that it is about, and the one cell that answers it."""

    context: str
    text: str
    demanding: Messages
    free: Messages
    table: Table
    cell: Cell


def asked_of(path: Path) -> Iterator[Asked]:
    """The file's questions whose gold answer is the number of exactly one cell, in the order of the file.

    Questions that several cells answer are left out, as are those whose answer is computed or stands in the prose.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        values = [question for question in questions(record) if question.operation == "value"]
        fitting = [question for question in values if len(question.text) <= _LONGEST_TITLE]
        if not fitting:
            continue
        plan = Plan(_job(record, [question.text for question in fitting]))
        for number, question in enumerate(fitting):
            node = plan.nodes[f"q{number}"]
            found = list(_answering(node.excerpt.tables[0], question.answer))
            if len(found) == 1:
                demanding, free = (plan.request(name, {}).messages for name in (node.id, f"free{number}"))
                yield Asked(record["uid"], question.text, demanding, free, node.excerpt.tables[0], found[0])


def _job(record: dict[str, Any], titles: Iterable[str]) -> JobSpec:
    """Two sections for each question, over the table alone."""
    content = json.dumps({"table": record["table"]})
    sections = [
        {"id": f"{kind}{number}", "title": title, "prompt": prompt}
        for number, title in enumerate(titles)
        for kind, prompt in (("q", _PROMPT), ("free", _FREE_PROMPT))
    ]
    source = {"name": "table", "format": "json", "content": content}
    return JobSpec.model_validate({"entity": "TAT-QA", "period": "all", "sources": [source], "sections": sections})


def _answering(table: Table, answer: str) -> Iterator[Cell]:
    amounts = scan(answer).amounts
    for cell in table.numeric:
        if amounts and cell.quantity and cell.quantity.value == amounts[0].quantity.value:
            yield cell


def messages_of(form: str, asked: Asked) -> Messages:
    return asked.free if form == FREE else asked.demanding


def grammar_of(form: str, table: Table) -> str:
    """A Lark grammar. `cell`: a reference to a cell; `sentence`: one that names row and column; `free`: a job's own."""
    if form == FREE:
        return reference_grammar([table])
    answers = [_sentence(table, cell) if form == SENTENCE else f"[[{cell.id}]]" for cell in table.numeric]
    return "start: " + " | ".join(json.dumps(answer, ensure_ascii=False) for answer in answers)


def _sentence(table: Table, cell: Cell) -> str:
    """As code writes sentences over tables in guided sections."""
    heading = table.headings[cell.column - 1]
    column = f" in [[{table.id}.c{cell.column}]]" if heading and cell.column > 1 else ""
    return f"{cell.label or 'It'} came to [[{cell.id}]]{column}."
