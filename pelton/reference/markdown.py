"""The few forms of Markdown that the pages are made of."""

import inspect
from collections.abc import Iterable


def document(title: str, source: str, introduction: str, body: Iterable[str]) -> str:
    """A page; `source` is the file to edit instead of it."""
    note = f"<!-- Written by `make reference` from {source}: edit that file, not this one. -->"
    return "\n\n".join([f"# {title}", note, introduction, *body]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; a cell may hold any text of one line."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """Text that stands as it is."""
    return f"`{text}`"


def one_line(docstring: str | None) -> str:
    """A docstring as a table's cell; empty where there is none."""
    return " ".join(inspect.cleandoc(docstring or "").split())
