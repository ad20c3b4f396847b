"""Tables on a terminal of whatever width: cells are folded, not cut, as names and paths have to be copied."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text


def folding_table(*words: str, figures: Iterable[str | Text] = (), **options: Any) -> Table:
    """Columns of `words`, then of `figures`, which stand at the right."""
    table = Table(**options)
    for word in words:
        table.add_column(word, overflow="fold")
    for figure in figures:
        table.add_column(figure, justify="right", overflow="fold")
    return table
